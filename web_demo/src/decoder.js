/** The decoder at run time: label by label. */

import { statelessInputs, staticShape } from "./contract.js";
import { ContractError } from "./errors.js";
import { checkKind } from "./graph.js";
import { StateSpace } from "./state.js";
import { floatsOf, full } from "./tensor.js";

/** @typedef {import("./state.js").State} State */

/** The decoder of a bundle, of any kind. */
export class Decoder {
  /**
   * @param {import("./graph.js").Graph} graph
   * @throws {ContractError} it is another graph, or takes several hypotheses a call.
   */
  constructor(graph) {
    checkKind(graph, "decoder", "decoder");
    this.graph = graph;
    const [label] = statelessInputs(graph.contract);
    const [batch] = staticShape(label);
    if (batch !== 1) {
      throw new ContractError(
        `the decoder takes ${batch} hypotheses a call, expected 1; export with --batch 1.`,
      );
    }
    this.label = label.name;
    if (typeof label.maximum !== "number") {
      throw new ContractError(`${label.name} has no maximum; export again.`);
    }
    this.vocabSize = label.maximum + 1;
    this.space = new StateSpace(graph.contract);
  }

  /** The state before the first label; also how a hypothesis is reset. */
  start() {
    return this.space.start();
  }

  /**
   * Feeds a label.
   * @param {State} state a value: it may be fed several times.
   * @param {number} label a transducer's first one is blank.
   * @returns {Promise<[Float32Array, State]>} the decoder output (D,), and the state after it.
   * @throws {ContractError} the label is out of range.
   */
  async step(state, label) {
    if (!(Number.isInteger(label) && label >= 0 && label < this.vocabSize)) {
      throw new ContractError(`label must be 0 to ${this.vocabSize - 1}, got ${label}.`);
    }
    const own = { [this.label]: full("int64", [1, 1], label) };
    const outputs = await this.graph.run(this.space.feed(state, own));
    return [floatsOf(outputs[0]), this.space.after(state, own, outputs)];
  }
}
