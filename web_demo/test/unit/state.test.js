/** The rules of state on a graph of no known kind: two hypotheses, windows of three rows. */

import assert from "node:assert/strict";
import test from "node:test";

import { StateSpace } from "../../src/index.js";
import { float32, full } from "../../src/tensor.js";

/** @typedef {import("../../src/state.js").State} State */

const contract = (output = "total") =>
  /** @type {import("../../src/contract.js").GraphContract} */ ({
    name: "any",
    kind: "any",
    module: { type: "any", weights: "" },
    inputs: [
      { name: "frames", dtype: "int64", shape: [1] },
      { name: "total_before", dtype: "int64", shape: [2] },
      { name: "rows_window", dtype: "float32", shape: [2, 3, 1] },
      { name: "row_window", dtype: "float32", shape: [2, 3, 1] },
      { name: "valid", dtype: "int64", shape: [2] },
      { name: "turn", dtype: "int64", shape: [2] },
    ],
    outputs: [
      { name: "total", dtype: "int64", shape: [2] },
      {
        name: "rows",
        dtype: "float32",
        shape: [2, 4, 1],
        rows: { input: "frames", offset: 1, stride: 2 },
      },
      { name: "row", dtype: "float32", shape: [2, 2, 1] },
    ],
    state: [
      { update: "replace", input: "total_before", output, initial: 7 },
      { update: "append", input: "rows_window", output: "rows" },
      { update: "append", input: "row_window", output: "row", row: 1 },
      { update: "count", input: "valid", output: "rows", limit: 5 },
      { update: "count", input: "turn", initial: 1, limit: 9, restart_at: 4 },
    ],
  });

const space = new StateSpace(contract());

/**
 * Adds the frames to the total; the number of an element in its output, and ten times the total.
 * @param {State} state
 * @param {number} frames
 */
function step(state, frames) {
  const own = { frames: full("int64", [1], frames) };
  const [, before] = space.feed(state, own);
  const total = Number(before.data[0]) + frames;
  /** @param {number[]} shape */
  const count = (shape) =>
    float32(
      Float32Array.from({ length: shape.reduce((one, other) => one * other) }, (_, at) => at + 10 * total),
      shape,
    );
  return space.after(state, own, [full("int64", [2], total), count([2, 4, 1]), count([2, 2, 1])]);
}

/** @param {State} state */
const carried = (state) =>
  ["total_before", "rows_window", "row_window", "valid", "turn"].map((name) =>
    Array.from(space.inputs(state)[name].data, Number),
  );

test("each hypothesis of a batch has its own rows, the oldest one first", () => {
  const first = space.start();
  assert.deepEqual(carried(first), [[7, 7], Array(6).fill(0), Array(6).fill(0), [0, 0], [1, 1]]);
  const second = step(first, 5); // two rows are genuine, the total is 12
  assert.deepEqual(carried(second), [
    [12, 12],
    [0, 120, 121, 0, 124, 125],
    [0, 0, 122, 0, 0, 123],
    [2, 2],
    [2, 2],
  ]);
  const third = step(second, 0); // none is
  assert.deepEqual(carried(third), [
    [12, 12],
    [0, 120, 121, 0, 124, 125],
    [0, 122, 122, 0, 123, 123],
    [2, 2],
    [3, 3],
  ]);
  const fourth = step(third, 9); // four rows, more than the window holds; the counts reach their ends
  assert.deepEqual(carried(fourth), [
    [21, 21],
    [211, 212, 213, 215, 216, 217],
    [122, 122, 212, 123, 123, 213],
    [5, 5],
    [1, 1],
  ]);
});

test("a state is a value: a fork goes its own way", () => {
  let state = space.start();
  for (let round = 0; round < 5; round++) state = step(state, 3);
  const before = carried(state);
  const branch = step(state, 9);
  const stem = step(state, 3);
  assert.deepEqual(carried(state), before);
  assert.notDeepEqual(carried(branch), carried(stem));
  assert.deepEqual(carried(step(state, 9)), carried(branch));
});

test("a state that is made of no output is named", () => {
  assert.throws(() => new StateSpace(contract("none")), {
    name: "ContractError",
    message:
      "graph 'any': the state 'total_before' is made of 'none', and the graph has the inputs frames, " +
      "total_before, rows_window, row_window, valid, turn and the outputs total, rows, row; export again.",
  });
});
