import assert from "node:assert/strict";
import test from "node:test";

import { Bundle, BundleError, DeployBiasError, load, webFolder } from "../../src/index.js";
import { manifestSchema, parse } from "../../src/manifest.js";
import { readSafetensors } from "../../src/safetensors.js";
import { backend, folder, json, open } from "./expected.js";

test("a bundle tells what it holds", async () => {
  const bundle = await open();
  assert.deepEqual(bundle.precisions("onnx"), ["fp32", "int8"]);
  const graphs = await load(bundle, backend);
  assert.deepEqual(Object.keys(graphs), ["frontend", "encoder", "bias", "decoder", "joint"]);
});

test("what is broken gives Python's error, word for word", async (context) => {
  for (const { fault, kind, message } of await json("errors.json")) {
    await context.test(fault, async () => {
      const error = await open(`faults/${fault}`)
        .then((bundle) => load(bundle, backend))
        .then(() => assert.fail("no error"), (/** @type {DeployBiasError} */ error) => error);
      assert.equal(error.name, kind);
      assert.equal(error.message.replaceAll(folder, "{folder}"), message);
    });
  }
});

test("a manifest against the schema gives Python's error, word for word", async () => {
  for (const { manifest, message } of await json("schema.json")) {
    assert.throws(() => parse(manifestSchema, manifest, "manifest.json"), {
      name: "BundleError",
      message,
    });
  }
});

test("a file that ONNX Runtime cannot load is named", async () => {
  await assert.rejects(backend.open(new Uint8Array(9), "x.onnx"), (/** @type {Error} */ error) => {
    assert.match(error.message, /^x\.onnx: onnxruntime cannot load it \(/);
    return error instanceof BundleError;
  });
});

test("a cut safetensors file is named", async () => {
  const bundle = await open();
  const data = await bundle.read(bundle.manifest.vectors);
  for (const size of [0, 7, 40, data.length - 1]) {
    assert.throws(() => readSafetensors(data.slice(0, size), "x"), /^BundleError: x: not safetensors/);
  }
});

test("a server that is not there is no missing file", async () => {
  await assert.rejects(
    Bundle.open(webFolder("http://127.0.0.1:1/bundle")),
    /cannot be loaded \(the connection was lost: .*\); try again\./,
  );
});
