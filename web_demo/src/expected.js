/**
 * What a bundle holds of eager, and what it allows beside that; deploy_bias.runtime.proof.expected
 * in Python.
 *
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./contract.js").TensorSpec} TensorSpec
 * @typedef {import("./graph.js").Graph} Graph
 * @typedef {import("./tensor.js").Tensor} Tensor
 * @typedef {{case: string, step: number, overLimit: number | null}} ProofStep the worst element of a
 *   step over its limit; null is NaN or infinity.
 */

import { dtypeOf, statelessInputs, staticShape } from "./contract.js";
import { BundleError } from "./errors.js";
import { StateSpace } from "./state.js";
import { elementsOf, Tally } from "./tally.js";
import { float32, floatsOf, full, sizeOf } from "./tensor.js";

/** The kinds of graphs that have nothing to quantise: held to fp32's limits in every precision. */
const EXACT = ["bias", "frontend", "offline_frontend"];

export class Expected {
  /**
   * @param {Map<string, Tensor>} vectors
   * @param {Map<string, Tensor>} limits
   */
  constructor(vectors, limits) {
    this.vectors = vectors;
    this.limits = limits;
  }

  /**
   * @param {Bundle} bundle
   * @throws {BundleError} it holds no limits or vectors, or they are corrupt.
   */
  static async of(bundle) {
    const { limits, vectors } = bundle.manifest;
    if (!limits) {
      throw new BundleError(
        `${bundle.folder.name}: holds no limits to check against; export again.`,
      );
    }
    return new Expected(await bundle.tensors(vectors), await bundle.tensors(limits));
  }

  /**
   * Whether each element of a graph has a limit, or each output.
   * @param {Graph} graph
   * @param {string} precision
   */
  static measure(graph, precision) {
    const exact = precision === "fp32" || EXACT.includes(graph.contract.kind);
    return exact ? "elements" : "distance";
  }

  /**
   * Runs all that is stored of a graph.
   * @param {import("./graph.js").Graphs} graphs
   * @param {Graph} graph one of them.
   * @param {string} precision
   * @param {Tally} tally
   * @param {ProofStep[]} series takes the errors step by step, where each element has a limit.
   * @throws {BundleError} something is missing, or does not fit the contract.
   */
  async run(graphs, graph, precision, tally, series) {
    const { name } = graph.contract;
    const exact = Expected.measure(graph, precision) === "elements";
    for (const key of this.cases(name)) await this.rollout(graph, key, exact, tally, series);
    if (!tally.times.length) throw new BundleError(`no test vectors for ${name}; export again.`);
    if (!exact) {
      for (const { name: output } of graph.contract.outputs) {
        const [limit] = find(this.limits, `${precision}/${name}/${output}`).data;
        tally.judge(output, Number(limit));
      }
    }
    if (name === "joint" && graphs.decoder) {
      await this.labels(graphs.decoder, graph, precision, tally);
    }
  }

  /**
   * The stored cases of a graph, GRAPH/CASE.
   * @private
   * @param {string} graph
   */
  cases(graph) {
    const keys = [...this.vectors.keys()].filter((key) => key.startsWith(`${graph}/`));
    return [...new Set(keys.map((key) => key.slice(0, key.lastIndexOf("/"))))].sort();
  }

  /**
   * Runs a stored case, the state carried as the contract says.
   * @private
   * @param {Graph} graph
   * @param {string} key GRAPH/CASE.
   * @param {boolean} exact
   * @param {Tally} tally
   * @param {ProofStep[]} series
   */
  async rollout(graph, key, exact, tally, series) {
    const { contract } = graph;
    const label = key.slice(contract.name.length + 1);
    const space = new StateSpace(contract);
    let state = space.start();
    const steps = find(this.vectors, `${key}/${contract.outputs[0].name}`).shape[0];
    for (let step = 0; step < steps; step++) {
      const own = Object.fromEntries(
        statelessInputs(contract).map((spec) => {
          const stored = find(this.vectors, `${key}/${spec.name}`);
          return [spec.name, atStep(stored, step, spec)];
        }),
      );
      const outputs = await tally.timed(graph, space.feed(state, own));
      let worst = 0;
      contract.outputs.forEach((spec, index) => {
        const wanted = atStep(find(this.vectors, `${key}/${spec.name}`), step, spec);
        const limits = exact
          ? atStep(find(this.limits, `${key}/${spec.name}`), step, { ...spec, dtype: "float32" })
          : null;
        const rows = space.genuineRows(own, spec.name);
        const where = `case '${label}', step ${step}, ${spec.name}`;
        const elements = elementsOf(outputs[index], wanted, limits, rows);
        if (exact) worst = Math.max(worst, tally.compare(elements, where));
        else tally.measure(spec.name, elements, where);
      });
      if (exact) series.push({ case: label, step, overLimit: finite(worst) });
      state = space.after(state, own, outputs);
    }
  }

  /**
   * Compares the labels that are preferred along each stored utterance with eager's.
   * @private
   * @param {Graph} decoder
   * @param {Graph} joint
   * @param {string} precision
   * @param {Tally} tally
   */
  async labels(decoder, joint, precision, tally) {
    for (const [key, preferred] of this.limits) {
      const name = key.slice(0, key.lastIndexOf("/"));
      const labels = this.vectors.get(`${name}/label`);
      if (!key.endsWith("/preferred") || !labels) continue;
      const frames = find(this.vectors, `${name}/encoder_out`);
      const [count, size] = frames.shape;
      const outputs = rolledOut(decoder, Array.from(labels.data, Number));
      let step = 0;
      for await (const out of outputs) {
        for (let frame = 0; frame < count; frame++) {
          const wanted = Number(preferred.data[step * count + frame]);
          if (wanted < 0) continue;
          const values = floatsOf(frames).subarray(frame * size, (frame + 1) * size);
          const got = await prefer(joint, values, out);
          if (!got && !wanted) continue;
          tally.compared++;
          if (got === wanted) tally.agreed++;
        }
        step++;
      }
    }
    const required = Number(this.limits.get(`${precision}/preferred`)?.data[0] ?? 0);
    if (tally.agreed < required * tally.compared) {
      tally.problem ??=
        `prefers eager's label in ${tally.agreed} of ${tally.compared} comparisons, required ` +
        `${(100 * required).toFixed(0)}%`;
    }
  }
}

/**
 * The outputs (B, D) of a decoder that is fed labels, one by one.
 * @param {Graph} decoder
 * @param {number[]} labels
 */
async function* rolledOut(decoder, labels) {
  const [spec] = statelessInputs(decoder.contract);
  const space = new StateSpace(decoder.contract);
  let state = space.start();
  for (const label of labels) {
    const own = { [spec.name]: full("int64", staticShape(spec), label) };
    const outputs = await decoder.run(space.feed(state, own));
    state = space.after(state, own, outputs);
    yield outputs[0];
  }
}

/**
 * The label that the joint network prefers at an encoder frame (E,) after a decoder output (B, D).
 * @param {Graph} joint
 * @param {Float32Array} frame
 * @param {Tensor} out
 */
async function prefer(joint, frame, out) {
  const [batch] = out.shape;
  const frames = new Float32Array(batch * frame.length);
  for (let lane = 0; lane < batch; lane++) frames.set(frame, lane * frame.length);
  const [logits] = await joint.run([float32(frames, [batch, frame.length]), out]);
  const first = floatsOf(logits).subarray(0, logits.shape[1]);
  return first.reduce((best, value, at) => (value > first[best] ? at : best), 0);
}

/**
 * One step of stored ones, which have the steps along their first axis.
 * @param {Tensor} stored
 * @param {number} step
 * @param {TensorSpec} spec
 * @returns {Tensor}
 */
function atStep({ dtype, shape, data }, step, spec) {
  const own = shape.slice(1);
  if (dtype !== dtypeOf(spec) || step >= shape[0] || String(own) !== String(spec.shape)) {
    throw new BundleError(
      `the vectors do not fit the contract (${spec.name} is ${dtype} (${own.join(", ")}), expected ` +
        `${spec.dtype} (${spec.shape.join(", ")})); export again.`,
    );
  }
  const size = sizeOf(own);
  return { dtype, shape: own, data: data.slice(step * size, (step + 1) * size) };
}

/**
 * @param {Map<string, Tensor>} tensors
 * @param {string} key
 */
function find(tensors, key) {
  const tensor = tensors.get(key);
  if (tensor) return tensor;
  throw new BundleError(`the vectors or limits lack '${key}'; export again.`);
}

/** @param {number} value */
export const finite = (value) => (Number.isFinite(value) ? value : null);
