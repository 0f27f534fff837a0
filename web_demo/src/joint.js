/** The joint network at run time. */

import { settingsOf, staticShape } from "./contract.js";
import { ContractError } from "./errors.js";
import { checkKind } from "./graph.js";
import { float32, floatsOf } from "./tensor.js";

export class Joint {
  /**
   * @param {import("./graph.js").Graph} graph
   * @throws {ContractError} it is another graph, or takes several hypotheses a call.
   */
  constructor(graph) {
    checkKind(graph, "joint", "joint network");
    this.graph = graph;
    const [[batch, encoderSize], [, decoderSize]] = graph.contract.inputs.map(staticShape);
    if (batch !== 1) {
      throw new ContractError(
        "the joint network takes several hypotheses a call; export with --batch 1.",
      );
    }
    this.encoderSize = encoderSize;
    this.decoderSize = decoderSize;
    this.blankDurations = settingsOf(graph.contract, "joint").blank_durations ?? [1];
  }

  /**
   * @param {Float32Array[]} encoderOut
   * @throws {ContractError} a frame holds NaN or infinity.
   */
  check(encoderOut) {
    const frame = encoderOut.findIndex((values) => !values.every(Number.isFinite));
    if (frame !== -1) {
      throw new ContractError(
        `encoder frame ${frame} of ${encoderOut.length} holds NaN or infinity; look for them in its ` +
          "audio or features.",
      );
    }
  }

  /**
   * The log-probabilities of the next label, blank first.
   * @param {Float32Array} frame (E,).
   * @param {Float32Array} decoderOut (D,).
   * @returns {Promise<Float64Array>} (V,).
   * @throws {ContractError} a logit is NaN or infinite.
   */
  async logProbs(frame, decoderOut) {
    const [output] = await this.graph.run([
      float32(frame, [1, this.encoderSize]),
      float32(decoderOut, [1, this.decoderSize]),
    ]);
    const logits = Float64Array.from(floatsOf(output));
    if (!logits.every(Number.isFinite)) {
      const largest = Math.max(...frame.map(Math.abs)).toPrecision(3);
      throw new ContractError(
        "the joint network makes NaN or infinity of an encoder frame; its largest value is " +
          `${largest}: look for what is wrong in its audio or features.`,
      );
    }
    const largest = Math.max(...logits);
    const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
    return logits.map((logit) => logit - largest - Math.log(sum));
  }
}
