import assert from "node:assert/strict";
import test from "node:test";

import { OnnxBackend, Proof } from "../../src/index.js";
import { backend, open } from "./expected.js";

const bundle = await open();

test("every graph computes what eager computed", async () => {
  const report = await (await Proof.open(bundle, backend)).run("Node");
  assert.deepEqual(
    report.rows.filter((row) => !row.passed).map((row) => row.problem),
    [],
  );
  assert.ok(report.passed);
  assert.deepEqual(
    report.rows.map((row) => row.graph),
    ["frontend", "encoder", "bias", "decoder", "joint"],
  );
  for (const row of report.rows) {
    assert.ok(row.steps > 0 && row.series.length === row.steps, row.graph);
    assert.ok(row.medianMs <= row.percentile95Ms);
  }
});

/** What a faulty graph looks like: one number of what it gives is off by one in a thousand. */
class Faulty extends OnnxBackend {
  /**
   * @param {Uint8Array} data
   * @param {string} where
   */
  async open(data, where) {
    const session = await super.open(data, where);
    const run = session.run.bind(session);
    session.run = async (contract, inputs) => {
      const outputs = await run(contract, inputs);
      if (contract.name === "decoder") /** @type {Float32Array} */ (outputs[0].data)[5] *= 1.001;
      return outputs;
    };
    return session;
  }
}

test("an output that is off is shown", async () => {
  const report = await (await Proof.open(bundle, new Faulty(backend.ort))).run("Node");
  assert.ok(!report.passed);
  const [row, ...others] = report.rows.filter((row) => !row.passed);
  assert.equal(row.graph, "decoder");
  assert.deepEqual(others, []);
  assert.match(row.problem ?? "", /decoder_out: off by .*, allowed /);
});
