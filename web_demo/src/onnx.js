/**
 * ONNX Runtime; the same in a browser and in Node.
 *
 * @typedef {typeof import("onnxruntime-common")} Ort
 * @typedef {import("./contract.js").GraphContract} GraphContract
 * @typedef {import("./tensor.js").Tensor} Tensor
 */

import { BackendError, BundleError, reasonOf } from "./errors.js";
import { dtypeOf, staticShape } from "./contract.js";

/** Runs the artifacts of a bundle that are for ONNX Runtime. */
export class OnnxBackend {
  /** Its name in the manifest. */
  name = "onnx";

  /** @param {Ort} ort the module onnxruntime-web (or -node). */
  constructor(ort) {
    this.ort = ort;
  }

  /** The version that runs here. */
  get version() {
    return this.ort.env.versions.web ?? this.ort.env.versions.node ?? this.ort.env.versions.common;
  }

  /**
   * Loads an artifact.
   * @param {Uint8Array} data
   * @param {string} where for errors.
   * @throws {BundleError} ONNX Runtime refuses it.
   */
  async open(data, where) {
    try {
      const session = await this.ort.InferenceSession.create(data);
      return new OnnxSession(this.ort, session, readLabel(data));
    } catch (error) {
      throw new BundleError(
        `${where}: onnxruntime cannot load it (${reasonOf(error)}). ` +
          "It is corrupt or made for another version; export again.",
        { cause: error },
      );
    }
  }
}

/** An artifact that is loaded. */
export class OnnxSession {
  /**
   * @param {Ort} ort
   * @param {import("onnxruntime-common").InferenceSession} session
   * @param {string | null} label that it carries.
   */
  constructor(ort, session, label) {
    this.ort = ort;
    this.session = session;
    this.label = label;
  }

  /**
   * Runs the graph; an ONNX file is one graph.
   * @param {GraphContract} contract
   * @param {Tensor[]} inputs in its order.
   * @returns {Promise<Tensor[]>} the outputs in its order, fresh ones: `run` leaves outputs that it
   *   is given as they were, without an error (onnxruntime issue 25786).
   * @throws {BackendError} ONNX Runtime failed.
   */
  async run(contract, inputs) {
    /** @type {Record<string, import("onnxruntime-common").Tensor>} */
    const feeds = {};
    contract.inputs.forEach((spec, index) => {
      const { dtype, data, shape } = inputs[index];
      feeds[spec.name] = new this.ort.Tensor(dtype, /** @type {any} */ (data), shape);
    });
    try {
      const outputs = await this.session.run(feeds);
      return contract.outputs.map((spec) => ({
        dtype: dtypeOf(spec),
        shape: staticShape(spec),
        data: /** @type {Float32Array | BigInt64Array} */ (outputs[spec.name].data),
      }));
    } catch (error) {
      throw new BackendError(
        `graph '${contract.name}': ONNX Runtime failed: ${reasonOf(error)}.`,
        { cause: error },
      );
    }
  }

  close() {
    return this.session.release();
  }
}

const METADATA_PROPS = 14;

/**
 * The label inside an ONNX file; null if there is none. ONNX Runtime has no way to it in JavaScript.
 * @param {Uint8Array} data
 */
export function readLabel(data) {
  for (const [field, entry] of fieldsOf(data)) {
    if (field !== METADATA_PROPS) continue;
    const pair = new Map(fieldsOf(entry));
    if (text(pair.get(1)) === "deploy_bias") return text(pair.get(2));
  }
  return null;
}

/** @param {Uint8Array | undefined} data */
const text = (data) => new TextDecoder().decode(data);

/**
 * The fields of a protobuf message that are bytes: number and content.
 * @param {Uint8Array} data
 * @returns {Generator<[number, Uint8Array]>}
 */
function* fieldsOf(data) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = data[at++];
      value += (byte & 127) * shift;
      if (!(byte & 128)) return value;
    }
  };
  while (at < data.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const length = varint();
      yield [Math.floor(key / 8), data.subarray(at, at + length)];
      at += length;
    }
  }
}
