/**
 * Runs data sets on onnxruntime-web, for tests/export/test_testdata.py. On stdin
 * {model, sets: [{name: [type, dims, base64]}]}; on stdout the outputs of each set, likewise.
 *
 * @typedef {["float32" | "int64", number[], string]} Encoded
 */

import { readFileSync } from "node:fs";

import * as ort from "onnxruntime-web";

const ARRAYS = { float32: Float32Array, int64: BigInt64Array };

/** @param {Encoded} encoded */
function tensor([type, dims, data]) {
  const bytes = new Uint8Array(Buffer.from(data, "base64")); // a copy, so aligned
  return new ort.Tensor(type, /** @type {any} */ (new ARRAYS[type](bytes.buffer)), dims);
}

/** @param {ort.Tensor} tensor */
function encoded({ type, dims, data }) {
  const { buffer, byteOffset, byteLength } = /** @type {Float32Array} */ (data);
  return [type, dims, Buffer.from(buffer, byteOffset, byteLength).toString("base64")];
}

/**
 * @template One, Other
 * @param {Readonly<Record<string, One>>} object
 * @param {(value: One) => Other} change
 */
const map = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));

ort.env.wasm.numThreads = 1;
/** @type {{model: string, sets: Record<string, Encoded>[]}} */
const { model, sets } = JSON.parse(readFileSync(0, "utf8"));
const session = await ort.InferenceSession.create(readFileSync(model));
const found = [];
for (const inputs of sets) found.push(map(await session.run(map(inputs, tensor)), encoded));
process.stdout.write(JSON.stringify(found));
