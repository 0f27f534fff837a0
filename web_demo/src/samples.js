/** From samples to decoding windows. */

import { ContractError } from "./errors.js";

/** Samples beyond this are no clipped audio but another scale: 16-bit numbers, most often. */
const LOUDEST = 32;

/** Cuts into windows; the pieces that samples come in do not matter. */
export class SampleStream {
  /**
   * @param {number} fs of the model, samples a second.
   * @param {number} size samples of a decoding window.
   * @param {number} leadIn samples of silence before the first one.
   */
  constructor(fs, size, leadIn) {
    this.fs = fs;
    /**
     * Those that are complete and not taken yet, the oldest first; the last one of all is shorter.
     * @type {{samples: Float32Array, isFinal: boolean}[]}
     */
    this.windows = [];
    /** @private */
    this.window = new Float32Array(size);
    /** @private */
    this.filled = 0;
    /** @private */
    this.finished = false;
    this.cut(new Float32Array(leadIn));
  }

  /**
   * Takes the next samples.
   * @param {number} sampleRate
   * @param {Float32Array} samples in [-1, 1).
   * @throws {ContractError} they hold NaN, infinity or more than LOUDEST, the rate is not the
   *   model's, or the input was finished. Nothing is changed then.
   */
  accept(sampleRate, samples) {
    this.checkOpen();
    if (sampleRate !== this.fs) {
      throw new ContractError(
        `audio at ${sampleRate} Hz, expected ${this.fs} Hz, the model's; record at that rate.`,
      );
    }
    const at = samples.findIndex((sample) => !(Math.abs(sample) <= LOUDEST));
    if (at !== -1) {
      throw new ContractError(
        `sample ${at} of ${samples.length} is ${shown(samples[at])}; expected finite samples in ` +
          "[-1, 1); divide 16-bit samples by 32768.",
      );
    }
    this.cut(samples);
  }

  /**
   * Ends the input: what is left of it is the last window.
   * @throws {ContractError} it was finished before.
   */
  finish() {
    this.checkOpen();
    this.finished = true;
    this.windows.push({ samples: this.window.slice(0, this.filled), isFinal: true });
  }

  /** @private */
  checkOpen() {
    if (this.finished) {
      throw new ContractError("the input of the stream is finished; create another stream.");
    }
  }

  /**
   * @private
   * @param {Float32Array} samples
   */
  cut(samples) {
    let at = 0;
    while (at < samples.length) {
      const taken = samples.subarray(at, at + this.window.length - this.filled);
      this.window.set(taken, this.filled);
      this.filled += taken.length;
      at += taken.length;
      if (this.filled === this.window.length) {
        this.windows.push({ samples: this.window.slice(), isFinal: false });
        this.filled = 0;
      }
    }
  }
}

/**
 * As Python shows a number.
 * @param {number} value
 */
const shown = (value) =>
  Number.isNaN(value) ? "nan" : String(value).replace("Infinity", "inf");
