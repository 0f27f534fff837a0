/**
 * Greedy search: the best label at each step, one hypothesis.
 *
 * @typedef {import("./decoder.js").Decoder} Decoder
 * @typedef {import("./joint.js").Joint} Joint
 * @typedef {object} Result what a search found.
 * @property {readonly number[]} labels without blanks.
 * @property {readonly number[]} frames the encoder frame that each came at.
 * @property {readonly number[]} logProbs of each, among all labels and blank.
 * @property {number} score natural log-probability of the path.
 */

import { ContractError, OptionError } from "./errors.js";

const BLANK = 0;
/** Labels at one frame at most, as elsewhere in the field: a bad model may never say blank. */
const MOST_LABELS = 10;
/** @type {Result} */
const NOTHING = { labels: [], frames: [], logProbs: [], score: 0 };

/** Over the encoder frames of one utterance, which may come in pieces. */
export class GreedySearch {
  /**
   * @param {Decoder} decoder
   * @param {Joint} joint of the same bundle.
   * @throws {ContractError} they are of two models.
   * @throws {OptionError} the model has several blanks.
   */
  constructor(decoder, joint) {
    if (joint.graph.weightsSha256 !== decoder.graph.weightsSha256) {
      throw new ContractError(
        "the decoder and the joint network are of two models; take both from one bundle.",
      );
    }
    if (joint.blankDurations.length > 1) {
      throw new OptionError(
        `the model has ${joint.blankDurations.length} blanks, and this search knows one: it would ` +
          "take the others for tokens.",
      );
    }
    this.decoder = decoder;
    this.joint = joint;
    /** @type {Result} */
    this.result = NOTHING;
    /** @private */
    this.frame = 0;
    /** @private */
    this.state = decoder.start();
    /** @private @type {Float32Array | null} */
    this.decoderOut = null;
  }

  /** Forgets everything: the next frame is the first one of an utterance. */
  reset() {
    this.result = NOTHING;
    this.frame = 0;
    this.state = this.decoder.start();
    this.decoderOut = null;
  }

  /**
   * Searches on.
   * @param {Float32Array[]} encoderOut the next encoder frames, each (E,).
   * @throws {ContractError} NaN or infinity in a frame or in what the joint network makes of it.
   *   Nothing is changed then.
   */
  async accept(encoderOut) {
    this.joint.check(encoderOut);
    const labels = [...this.result.labels];
    const frames = [...this.result.frames];
    const found = [...this.result.logProbs];
    let { score } = this.result;
    let { frame, state, decoderOut } = this;
    for (const values of encoderOut) {
      for (let step = 0; step < MOST_LABELS; step++) {
        if (!decoderOut) {
          [decoderOut, state] = await this.decoder.step(state, labels.at(-1) ?? BLANK);
        }
        const logProbs = await this.joint.logProbs(values, decoderOut);
        const label = logProbs.reduce((best, value, at) => (value > logProbs[best] ? at : best), 0);
        score += logProbs[label];
        if (label === BLANK) break;
        labels.push(label);
        frames.push(frame);
        found.push(logProbs[label]);
        decoderOut = null;
      }
      frame++;
    }
    this.result = { labels, frames, logProbs: found, score };
    Object.assign(this, { frame, state, decoderOut });
  }
}
