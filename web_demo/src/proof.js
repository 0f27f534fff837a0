/**
 * Whether a bundle is right on the machine that runs it; deploy_bias.runtime.proof in Python.
 *
 * Each graph runs on the stored cases, rollouts with state among them, and is compared with what
 * eager computed when the bundle was made. What is allowed stands in the bundle: in fp32 a distance
 * for each element; quantised, a root mean square distance for each output. Then the labels that the
 * decoder and the joint network prefer along the stored utterances are compared with eager's.
 *
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./graph.js").Graph} Graph
 * @typedef {import("./graph.js").Graphs} Graphs
 * @typedef {import("./onnx.js").OnnxBackend} OnnxBackend
 *
 * @typedef {object} ProofRow one graph.
 * @property {string} graph
 * @property {string} backend
 * @property {string} precision
 * @property {string} measure "elements", each within its limit; or "distance", the root mean square.
 * @property {number} steps
 * @property {number | null} maxAbsError the largest difference of any element; null is NaN or
 *   infinity.
 * @property {number | null} overLimit the worst error over what is allowed there; at most 1 passes.
 * @property {number} compared labels of the stored utterances; of the joint network alone.
 * @property {number} agreed
 * @property {number} medianMs of one call.
 * @property {number} percentile95Ms
 * @property {boolean} passed
 * @property {string | null} problem why it is wrong or could not be checked.
 * @property {import("./expected.js").ProofStep[]} series the errors step by step; of elements alone.
 *
 * @typedef {object} ProofReport what was proven, where.
 * @property {string} machine
 * @property {Record<string, string>} runtimes
 * @property {Record<string, string>} exporter
 * @property {string} weightsSha256
 * @property {ProofRow[]} rows
 * @property {boolean} passed
 */

import { DeployBiasError } from "./errors.js";
import { Expected, finite } from "./expected.js";
import { close, load } from "./graph.js";
import { Tally } from "./tally.js";

/**
 * Runs the graphs of a bundle here and compares them with what eager computed.
 * @param {Bundle} bundle
 * @param {OnnxBackend} backend
 * @param {{precisions?: string[], machine?: string, progress?: (stage: string) => void}} [options]
 *   precisions: all if they are left out. machine: its name. progress: called with each stage.
 * @returns {Promise<ProofReport>}
 * @throws {BundleError | BackendError} the bundle, its vectors or its limits are missing or corrupt.
 */
export async function check(bundle, backend, options = {}) {
  const { machine = "", progress = () => {} } = options;
  const precisions = options.precisions ?? bundle.precisions(backend.name);
  const expected = await Expected.of(bundle);
  /** @type {ProofRow[]} */
  const rows = [];
  for (const precision of precisions) {
    const graphs = await load(bundle, backend, precision);
    try {
      for (const graph of Object.values(graphs)) {
        progress(`${graph.contract.name}, ${precision}`);
        rows.push(await prove(expected, graphs, graph, backend.name, precision));
      }
    } finally {
      await close(graphs);
    }
  }
  return {
    machine,
    runtimes: { [backend.name]: backend.version ?? "" },
    exporter: bundle.manifest.exporter,
    weightsSha256: bundle.manifest.weights.sha256,
    rows,
    passed: rows.length > 0 && rows.every((row) => row.passed),
  };
}

/**
 * @param {Expected} expected
 * @param {Graphs} graphs
 * @param {Graph} graph one of them.
 * @param {string} backend
 * @param {string} precision
 * @returns {Promise<ProofRow>}
 */
async function prove(expected, graphs, graph, backend, precision) {
  const tally = new Tally();
  /** @type {import("./expected.js").ProofStep[]} */
  const series = [];
  try {
    await expected.run(graphs, graph, precision, tally, series);
  } catch (error) {
    if (!(error instanceof DeployBiasError)) throw error;
    tally.problem = error.message; // the other graphs count
  }
  const times = tally.times.toSorted((one, other) => one - other);
  return {
    graph: graph.contract.name,
    backend,
    precision,
    measure: Expected.measure(graph, precision),
    steps: times.length,
    maxAbsError: finite(tally.error),
    overLimit: finite(tally.worst),
    compared: tally.compared,
    agreed: tally.agreed,
    medianMs: percentile(times, 0.5),
    percentile95Ms: percentile(times, 0.95),
    passed: tally.problem === null,
    problem: tally.problem,
    series,
  };
}

/**
 * @param {number[]} sorted
 * @param {number} part
 */
const percentile = (sorted, part) => sorted[Math.floor((sorted.length - 1) * part)] ?? 0;
