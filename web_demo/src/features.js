/**
 * From samples to the chunks of features that the streaming encoder takes.
 *
 * @typedef {import("./graph.js").Graph} Graph
 * @typedef {import("./tensor.js").Tensor} Tensor
 * @typedef {{features: Tensor, frames: number}} FeatureChunk features (1, F, M), of which the first
 *   `frames` are genuine.
 */

import { staticShape } from "./contract.js";
import { float32, floatsOf, zeros } from "./tensor.js";

/** Makes the chunks of one utterance from its decoding windows. */
export class FeatureStream {
  /**
   * @param {Graph} frontend
   * @param {import("./chunking.js").Chunking} chunking
   * @param {readonly number[]} shape of the features that the encoder takes, (1, F, M).
   */
  constructor(frontend, chunking, shape) {
    this.frontend = frontend;
    this.chunking = chunking;
    this.shape = shape;
    this.size = staticShape(frontend.contract.inputs[0])[1];
    this.framesAtOnce = staticShape(frontend.contract.outputs[0])[1];
    this.samples = 0;
    this.frames = 0;
    /** From the first sample of the next frame to the end of the last window. */
    this.kept = new Float32Array(0);
    /** @type {Float32Array | null} */
    this.carried = null;
  }

  /**
   * Takes a whole decoding window, or the last samples; returns the chunk that they complete.
   * @param {Float32Array} window
   * @param {boolean} isFinal
   * @returns {Promise<FeatureChunk>}
   */
  async accept(window, isFinal) {
    const { chunking } = this;
    const mels = this.shape[2];
    this.samples += window.length;
    const silence = isFinal ? chunking.silence(this.samples) : 0;
    let signal = new Float32Array(this.kept.length + window.length + silence);
    signal.set(this.kept);
    signal.set(window, this.kept.length);
    if (!this.carried) signal = reflected(signal, chunking.edge, 0);
    if (isFinal) signal = reflected(signal, 0, chunking.edge);
    const total = isFinal ? chunking.total(this.samples) : chunking.complete(this.samples);
    const fresh = total - this.frames;
    const features = zeros("float32", this.shape);
    const data = floatsOf(features);
    if (this.carried) data.set(this.carried);
    const before = this.carried ? chunking.carried : 0;
    await this.extract(signal, fresh, data.subarray(before * mels));
    const frames = before + fresh;
    this.carried = data.slice((frames - chunking.carried) * mels, frames * mels);
    this.kept = signal.slice(fresh * chunking.hopLength);
    this.frames = total;
    return { features, frames };
  }

  /**
   * Puts the features of the first frames of a signal into `target`.
   * @private
   * @param {Float32Array} signal
   * @param {number} count
   * @param {Float32Array} target
   */
  async extract(signal, count, target) {
    const mels = this.shape[2];
    for (let frame = 0; frame < count; frame += this.framesAtOnce) {
      const samples = new Float32Array(this.size);
      const at = frame * this.chunking.hopLength;
      samples.set(signal.subarray(at, at + this.size));
      const [features] = await this.frontend.run([float32(samples, [1, this.size])]);
      const rows = Math.min(this.framesAtOnce, count - frame);
      target.set(floatsOf(features).subarray(0, rows * mels), frame * mels);
    }
  }
}

/**
 * The signal with its edges mirrored, the outermost samples not repeated, as often as it takes.
 * @param {Float32Array} signal
 * @param {number} before
 * @param {number} after
 */
export function reflected(signal, before, after) {
  const last = signal.length - 1;
  const period = 2 * last;
  return Float32Array.from({ length: before + signal.length + after }, (_, index) => {
    const at = last === 0 ? 0 : (((index - before) % period) + period) % period;
    return signal[at <= last ? at : period - at];
  });
}
