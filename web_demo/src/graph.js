/**
 * The graphs of a bundle, loaded.
 *
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./contract.js").GraphContract} GraphContract
 * @typedef {import("./onnx.js").OnnxBackend} OnnxBackend
 * @typedef {import("./tensor.js").Tensor} Tensor
 * @typedef {Record<string, Graph>} Graphs by name.
 *
 * @typedef {object} Session what runs a graph.
 * @property {(contract: GraphContract, inputs: Tensor[]) => Promise<Tensor[]>} run
 * @property {() => Promise<void>} close
 */

import { ContractError } from "./errors.js";

/** One graph of a bundle, on one backend. */
export class Graph {
  /**
   * @param {GraphContract} contract what it takes and gives.
   * @param {Session} session what runs it.
   * @param {string} [weightsSha256] of the weights that it was made of; graphs of one model share it.
   */
  constructor(contract, session, weightsSha256 = "") {
    this.contract = contract;
    this.session = session;
    this.weightsSha256 = weightsSha256;
  }

  /**
   * Runs the graph on inputs in the order of its contract, unchecked.
   * @param {Tensor[]} inputs
   */
  run(inputs) {
    return this.session.run(this.contract, inputs);
  }
}

/**
 * Loads every graph that a bundle has for one backend and precision.
 * @param {Bundle} bundle
 * @param {OnnxBackend} backend
 * @param {string} [precision]
 * @returns {Promise<Graphs>}
 * @throws {BundleError | BackendError} an artifact is missing, corrupt, foreign or newer, or there
 *   is none of that precision.
 */
export async function load(bundle, backend, precision = "fp32") {
  /** @type {Graphs} */
  const graphs = {};
  try {
    for (const artifact of bundle.artifacts(backend.name, precision)) {
      const session = await backend.open(await bundle.read(artifact), bundle.where(artifact));
      for (const contract of artifact.graphs) {
        graphs[contract.name] = new Graph(contract, session, bundle.manifest.weights.sha256);
      }
      bundle.checkLabel(artifact, session.label);
    }
  } catch (error) {
    await close(graphs);
    throw error;
  }
  return graphs;
}

/**
 * Gives back the memory of graphs.
 * @param {Graphs} graphs
 */
export async function close(graphs) {
  const sessions = new Set(Object.values(graphs).map((graph) => graph.session));
  await Promise.all([...sessions].map((session) => session.close()));
}

/**
 * @param {Graph} graph
 * @param {string} kind
 * @param {string} name what to call it.
 * @throws {ContractError} it is of another kind.
 */
export function checkKind(graph, kind, name) {
  if (graph.contract.kind !== kind) {
    throw new ContractError(
      `graph '${graph.contract.name}' is no ${name}; take graphs['${kind}'] of load.`,
    );
  }
}
