/**
 * The proof that travels with the model: the stored cases of a bundle, run here.
 *
 * Each case begins at the first state and carries its own. An element of an output passes if it is
 * no further from eager's than its limit, which the bundle has beside it: the budget that the
 * exporter measured there against float64. Whole numbers are equal or wrong.
 *
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./contract.js").TensorSpec} TensorSpec
 * @typedef {import("./graph.js").Graph} Graph
 * @typedef {import("./onnx.js").OnnxBackend} OnnxBackend
 * @typedef {import("./tensor.js").Named} Named
 * @typedef {import("./tensor.js").Tensor} Tensor
 *
 * @typedef {object} ProofStep
 * @property {string} case
 * @property {number} step
 * @property {number | null} maxAbsError
 * @property {number | null} overLimit
 *
 * @typedef {object} ProofRow one graph.
 * @property {string} graph
 * @property {string} precision
 * @property {number} steps
 * @property {number | null} maxAbsError the largest distance from eager; null is NaN or infinity.
 * @property {number | null} overLimit the largest distance over its limit; at most 1 passes.
 * @property {boolean} passed
 * @property {number} medianMs of a run.
 * @property {number} percentile95Ms
 * @property {string | null} problem where it is off, or why it could not be checked.
 * @property {ProofStep[]} series the errors step by step.
 *
 * @typedef {object} ProofReport what was proven, where.
 * @property {string} device
 * @property {string} runtime
 * @property {Record<string, string>} exporter
 * @property {string} weightsSha256
 * @property {string} precision
 * @property {ProofRow[]} rows
 * @property {boolean} passed
 */

import { statelessInputs } from "./contract.js";
import { BundleError, DeployBiasError } from "./errors.js";
import { close, load } from "./graph.js";
import { StateSpace } from "./state.js";
import { sizeOf } from "./tensor.js";

/** A graph with few steps is timed by running the last one again. */
const LEAST_TIMES = 20;

export class Proof {
  /**
   * @param {Bundle} bundle
   * @param {OnnxBackend} backend
   * @param {Map<string, Tensor>} vectors inputs, outputs and limits, GRAPH/CASE/TENSOR.
   */
  constructor(bundle, backend, vectors) {
    this.bundle = bundle;
    this.backend = backend;
    this.vectors = vectors;
  }

  /**
   * @param {Bundle} bundle
   * @param {OnnxBackend} backend
   * @throws {BundleError} the vectors are missing or changed.
   */
  static async open(bundle, backend) {
    return new Proof(bundle, backend, await bundle.tensors(bundle.manifest.vectors));
  }

  /**
   * Proves every graph.
   * @param {string} device
   * @param {{precision?: string, progress?: (graph: string) => void}} [options]
   * @returns {Promise<ProofReport>}
   * @throws {BundleError | BackendError} an artifact cannot be loaded.
   */
  async run(device, { precision = "fp32", progress = () => {} } = {}) {
    const graphs = await load(this.bundle, this.backend, precision);
    /** @type {ProofRow[]} */
    const rows = [];
    try {
      for (const graph of Object.values(graphs)) {
        progress(graph.contract.name);
        rows.push(await this.prove(graph, precision));
      }
    } finally {
      await close(graphs);
    }
    return {
      device,
      runtime: `${this.backend.name} ${this.backend.version}`,
      exporter: this.bundle.manifest.exporter,
      weightsSha256: this.bundle.manifest.weights.sha256,
      precision,
      rows,
      passed: rows.length > 0 && rows.every((row) => row.passed),
    };
  }

  /**
   * @param {Graph} graph
   * @param {string} precision
   * @returns {Promise<ProofRow>}
   */
  async prove(graph, precision) {
    const { name } = graph.contract;
    const keys = [...this.vectors.keys()].filter((key) => key.startsWith(`${name}/`));
    const cases = [...new Set(keys.map((key) => key.split("/")[1]))].sort();
    /** @type {number[]} */
    const times = [];
    /** @type {Worst} */
    const worst = { error: 0, over: 0, where: "" };
    /** @type {ProofStep[]} */
    const series = [];
    let problem = cases.length ? null : `no test vectors for ${name}; export again.`;
    try {
      for (const label of cases) await this.rollout(graph, label, times, worst, series);
    } catch (error) {
      if (!(error instanceof DeployBiasError)) throw error;
      problem = error.message;
    }
    if (!problem && !(worst.over <= 1)) problem = worst.where;
    times.sort((one, other) => one - other);
    return {
      graph: name,
      precision,
      steps: series.length,
      maxAbsError: finite(worst.error),
      overLimit: finite(worst.over),
      passed: problem === null,
      medianMs: percentile(times, 0.5),
      percentile95Ms: percentile(times, 0.95),
      problem,
      series,
    };
  }

  /**
   * Runs one case.
   * @private
   * @param {Graph} graph
   * @param {string} label its name.
   * @param {number[]} times milliseconds of each run are added.
   * @param {Worst} worst
   * @param {ProofStep[]} series
   */
  async rollout(graph, label, times, worst, series) {
    const { contract } = graph;
    const space = new StateSpace(contract);
    let state = space.start();
    const steps = this.stored(contract.name, label, contract.outputs[0].name).shape[0];
    const timed = async (/** @type {Tensor[]} */ inputs) => {
      const begin = performance.now();
      const outputs = await graph.run(inputs);
      times.push(performance.now() - begin);
      return outputs;
    };
    for (let step = 0; step < steps; step++) {
      const own = Object.fromEntries(
        statelessInputs(contract).map((spec) => {
          const stored = this.stored(contract.name, label, spec.name);
          return [spec.name, atStep(stored, step, steps, spec)];
        }),
      );
      const inputs = space.feed(state, own);
      const outputs = await timed(inputs);
      /** @type {Worst} */
      const here = { error: 0, over: 0, where: "" };
      contract.outputs.forEach((spec, index) => {
        const wanted = this.stored(contract.name, label, spec.name);
        const limits =
          spec.dtype === "int64" ? null : this.stored(contract.name, label, `${spec.name}:limit`);
        compare(
          outputs[index],
          atStep(wanted, step, steps, spec),
          limits && atStep(limits, step, steps, spec),
          space.genuineRows(own, spec.name),
          `case '${label}', step ${step}, ${spec.name}`,
          here,
        );
      });
      series.push({
        case: label,
        step,
        maxAbsError: finite(here.error),
        overLimit: finite(here.over),
      });
      keep(worst, here);
      state = space.after(state, own, outputs);
      if (step === steps - 1) while (times.length < LEAST_TIMES) await timed(inputs);
    }
  }

  /**
   * @private
   * @param {string} graph
   * @param {string} label
   * @param {string} name
   */
  stored(graph, label, name) {
    const tensor = this.vectors.get(`${graph}/${label}/${name}`);
    if (tensor) return tensor;
    throw new BundleError(`the test vectors lack ${graph}/${label}/${name}; export again.`);
  }
}

/** @typedef {{error: number, over: number, where: string}} Worst over: its limit; where it is. */

/**
 * @param {Worst} worst
 * @param {Worst} other
 */
function keep(worst, other) {
  worst.error = Math.max(worst.error, other.error);
  if (other.over > worst.over) Object.assign(worst, { over: other.over, where: other.where });
}

/**
 * Compares an output with eager's; only genuine rows count.
 * @param {Tensor} output
 * @param {Tensor} wanted
 * @param {Tensor | null} limits
 * @param {number | null} rows of axis 1 that are genuine; null is all.
 * @param {string} where
 * @param {Worst} worst takes the worst element.
 */
function compare(output, wanted, limits, rows, where, worst) {
  const { data, shape } = output;
  const width = rows === null ? data.length : sizeOf(shape.slice(2));
  for (let at = 0; at < data.length; at++) {
    if (rows !== null && Math.floor(at / width) % shape[1] >= rows) continue;
    const [one, other] = [Number(data[at]), Number(wanted.data[at])];
    const limit = limits ? Number(limits.data[at]) : 0;
    let error = Object.is(one, other) || one === other ? 0 : Math.abs(one - other);
    if (Number.isNaN(error)) error = Infinity;
    const over = error === 0 ? 0 : error / limit;
    const sizes = `off by ${error.toPrecision(2)}, allowed ${limit.toPrecision(2)}`;
    keep(worst, { error, over: over >= 0 ? over : Infinity, where: `${where}: ${sizes}` });
  }
}

/**
 * One step of stored ones, which have the steps along their first axis.
 * @param {Tensor} stored
 * @param {number} step
 * @param {number} steps
 * @param {TensorSpec} spec
 * @returns {Tensor}
 */
function atStep({ dtype, shape, data }, step, steps, spec) {
  const own = shape.slice(1);
  if (dtype !== spec.dtype || shape[0] !== steps || String(own) !== String(spec.shape)) {
    throw new BundleError(`test vectors: ${spec.name} does not fit its contract; export again.`);
  }
  const size = sizeOf(own);
  return { dtype, shape: own, data: data.slice(step * size, (step + 1) * size) };
}

/** @param {number} value */
const finite = (value) => (Number.isFinite(value) ? value : null);

/**
 * @param {number[]} sorted
 * @param {number} part
 */
const percentile = (sorted, part) => sorted[Math.floor((sorted.length - 1) * part)] ?? 0;
