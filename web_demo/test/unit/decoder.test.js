import assert from "node:assert/strict";
import test from "node:test";

import { Decoder, load } from "../../src/index.js";
import { backend, open, tensors } from "./expected.js";

const graphs = await load(await open(), backend);
const decoder = new Decoder(graphs.decoder);
const rollout = await tensors("rollout.safetensors");
/** @param {string} name */
const stored = (name) => rollout.get(name) ?? assert.fail(name);
const labels = Array.from(stored("label").data, Number);

/**
 * How far a float32 rollout of 400 steps may be from native ONNX Runtime, whose matrix products add
 * in another order: 1.9e-6 was measured, of outputs of up to 3.
 */
const NEAR = 1e-5;

/** @param {number[]} labels */
async function fed(labels) {
  let state = decoder.start();
  /** @type {Float32Array} */
  let out = new Float32Array(0);
  for (const label of labels) [out, state] = await decoder.step(state, label);
  return { out, state };
}

test("every output and every next state of a rollout past three windows is Python's", async () => {
  let state = decoder.start();
  let worst = 0;
  for (const [step, label] of labels.entries()) {
    const [out, next] = await decoder.step(state, label);
    state = next;
    const inputs = Object.entries(decoder.space.inputs(state));
    for (const [name, data] of [/** @type {const} */ (["decoder_out", out]), ...inputs.map(([name, tensor]) => /** @type {const} */ ([name, tensor.data]))]) {
      const wanted = stored(name);
      const size = wanted.data.length / labels.length;
      for (let at = 0; at < size; at++) {
        const newest = Number(data[data.length - size + at]); // of a window, its newest row is stored
        worst = Math.max(worst, Math.abs(newest - Number(wanted.data[step * size + at])));
      }
    }
    assert.ok(worst <= NEAR, `step ${step}: off by ${worst}`);
  }
});

test("a fork goes its own way", async () => {
  const { state } = await fed(labels.slice(0, 20));
  const [branch] = await decoder.step(state, 3);
  const [stem] = await decoder.step(state, 5);
  assert.deepEqual(branch, (await fed([...labels.slice(0, 20), 3])).out);
  assert.deepEqual(stem, (await fed([...labels.slice(0, 20), 5])).out);
  assert.notDeepEqual(branch, stem);
});

test("a label out of range is named", async () => {
  for (const label of [-1, 14, 1.5]) {
    await assert.rejects(decoder.step(decoder.start(), label), {
      name: "ContractError",
      message: `label must be 0 to 13, got ${label}.`,
    });
  }
});

test("a graph that is no decoder is named", () => {
  assert.throws(() => new Decoder(graphs.joint), /graph 'joint' is no decoder; take graphs\['decoder'\]/);
});
