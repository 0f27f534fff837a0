import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { folder } from "./expected.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The example of the package's README. */
const EXAMPLE = `
import * as ort from "onnxruntime-web";
import { Bundle, OnnxBackend, readWav, Recognizer } from "deploy-bias";
import { nodeFolder } from "deploy-bias/node";
import { readFileSync } from "node:fs";

const bundle = await Bundle.open(nodeFolder("${folder}/bundle"));
const recognizer = await Recognizer.open(bundle, new OnnxBackend(ort), { precision: "int8" });
const { samples, sampleRate } = readWav(readFileSync("${folder}/recordings/digits_55.wav"), "digits_55.wav");
console.log((await recognizer.decode(samples, sampleRate)).text);
`;

test("what npm packs runs, with its types", () => {
  const place = mkdtempSync(join(tmpdir(), "packed-"));
  try {
    execFileSync("npm", ["pack", "--pack-destination", place], { cwd: root, stdio: "pipe" });
    const [archive] = readdirSync(place);
    execFileSync("tar", ["-xzf", archive], { cwd: place });
    assert.deepEqual(readdirSync(join(place, "package")).sort(), [
      "LICENSE",
      "README.md",
      "declarations",
      "package.json",
      "src",
    ]);
    assert.ok(readdirSync(join(place, "package/declarations")).includes("index.d.ts"));
    symlinkSync(join(root, "node_modules"), join(place, "package/node_modules"));
    const text = execFileSync("node", ["--input-type=module", "--eval", EXAMPLE], {
      cwd: join(place, "package"), // which finds itself by its own name
      encoding: "utf8",
    });
    assert.equal(text.trim().split("\n").at(-1), "five five");
  } finally {
    rmSync(place, { recursive: true });
  }
});
