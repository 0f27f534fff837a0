/** The streaming encoder at run time: chunk by chunk. */

import { rowCount, settingsOf, statelessInputs, staticShape } from "./contract.js";
import { ContractError } from "./errors.js";
import { checkKind } from "./graph.js";
import { StateSpace } from "./state.js";
import { floatsOf, full } from "./tensor.js";

/** The encoder of a bundle; streams share it. */
export class Encoder {
  /**
   * @param {import("./graph.js").Graph} graph
   * @throws {ContractError} it is another graph.
   */
  constructor(graph) {
    checkKind(graph, "encoder", "streaming encoder");
    this.graph = graph;
    this.settings = settingsOf(graph.contract, "encoder");
    const [features, frames] = statelessInputs(graph.contract);
    this.features = features.name;
    this.frames = frames.name;
    this.featuresShape = staticShape(features);
    this.outputSize = staticShape(graph.contract.outputs[0])[2];
    const { rows } = graph.contract.outputs[0];
    if (!rows) throw new ContractError("the encoder's output has no rows; export again.");
    this.rows = rows;
  }

  stream() {
    return new EncoderStream(this);
  }
}

/** The chunks of an utterance. Memory is two windows each, however long it is. */
export class EncoderStream {
  /** @param {Encoder} encoder */
  constructor(encoder) {
    this.encoder = encoder;
    this.space = new StateSpace(encoder.graph.contract);
    this.state = this.space.start();
  }

  /**
   * Encodes the next chunk.
   * @param {import("./features.js").FeatureChunk} chunk
   * @returns {Promise<Float32Array[]>} its encoder frames, each (E,).
   */
  async accept(chunk) {
    const { encoder } = this;
    const count = rowCount(encoder.rows, chunk.frames);
    if (!count) return [];
    const own = {
      [encoder.features]: chunk.features,
      [encoder.frames]: full("int64", [1], chunk.frames),
    };
    const outputs = await encoder.graph.run(this.space.feed(this.state, own));
    this.state = this.space.after(this.state, own, outputs);
    const data = floatsOf(outputs[0]);
    const size = encoder.outputSize;
    return Array.from({ length: count }, (_, row) => data.subarray(row * size, (row + 1) * size));
  }
}
