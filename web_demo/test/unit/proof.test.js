import assert from "node:assert/strict";
import test from "node:test";

import { Bundle, check, OnnxBackend } from "../../src/index.js";
import { backend, open } from "./expected.js";

const bundle = await open();

test("every graph computes what eager computed", async () => {
  const report = await check(bundle, backend, { machine: "Node" });
  assert.deepEqual(
    report.rows.filter((row) => !row.passed).map((row) => row.problem),
    [],
  );
  assert.ok(report.passed);
  const graphs = ["frontend", "encoder", "bias", "decoder", "joint"];
  assert.deepEqual(
    report.rows.map((row) => [row.graph, row.precision]),
    ["fp32", "int8"].flatMap((precision) => graphs.map((graph) => [graph, precision])),
  );
  for (const row of report.rows) {
    assert.ok(row.steps > 0, row.graph);
    assert.equal(row.series.length, row.measure === "elements" ? row.steps : 0);
    assert.equal(row.compared > 0, row.graph === "joint");
    assert.ok(row.medianMs <= row.percentile95Ms);
  }
});

test("a bundle without limits is named", async () => {
  const { limits, ...manifest } = bundle.manifest;
  await assert.rejects(check(new Bundle(bundle.folder, manifest), backend), {
    name: "BundleError",
    message: `${bundle.folder.name}: holds no limits to check against; export again.`,
  });
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
  const report = await check(bundle, new Faulty(backend.ort), { precisions: ["fp32"] });
  assert.ok(!report.passed);
  const [row, ...others] = report.rows.filter((row) => !row.passed);
  assert.equal(row.graph, "decoder");
  assert.deepEqual(others, []);
  assert.match(row.problem ?? "", /decoder_out: off by .*, allowed /);
});
