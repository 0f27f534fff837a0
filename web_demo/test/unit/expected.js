/** What Python wrote for the tests (see tests/expected of the repository), and the runtime. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import * as ort from "onnxruntime-web";

import { Bundle, OnnxBackend, readWav } from "../../src/index.js";
import { nodeFolder } from "../../src/node.js";
import { readSafetensors } from "../../src/safetensors.js";

ort.env.wasm.numThreads = 1;

export const folder = fileURLToPath(new URL("../../../.expected", import.meta.url));
export const backend = new OnnxBackend(ort);

/** @param {string} [name] */
export const open = (name = "bundle") => Bundle.open(nodeFolder(`${folder}/${name}`));

/** @param {string} name */
export async function json(name) {
  return JSON.parse(await readFile(`${folder}/${name}`, "utf8"));
}

/** @param {string} name */
export async function tensors(name) {
  return readSafetensors(new Uint8Array(await readFile(`${folder}/${name}`)), name);
}

/** @param {string} name */
export async function recording(name) {
  return readWav(new Uint8Array(await readFile(`${folder}/recordings/${name}`)), name);
}
