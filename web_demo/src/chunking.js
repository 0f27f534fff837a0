/**
 * How streaming cuts an utterance into chunks of feature frames; deploy_bias.bundle.chunking in
 * Python. Frame t is the nFft samples around sample t * hopLength.
 */
export class Chunking {
  /** @param {import("./contract.js").FrontendSettings} settings */
  constructor(settings) {
    this.nFft = settings.n_fft;
    this.hopLength = settings.hop_length;
    this.decodingWindow = settings.decoding_window;
    /** The samples that are reflected at either edge of an utterance. */
    this.edge = Math.floor(this.nFft / 2);
    /** The frames at the start of a chunk that end the chunk before it. */
    this.carried = 2 * settings.subsampling_factor + 3;
  }

  /**
   * How many frames so many samples complete, when more may follow.
   * @param {number} samples
   */
  complete(samples) {
    return Math.max(0, Math.floor((samples + this.edge - this.nFft) / this.hopLength) + 1);
  }

  /**
   * How many zeros follow an utterance of so many samples.
   * @param {number} samples
   */
  silence(samples) {
    const whole = samples - (samples % this.decodingWindow);
    const hops = Math.floor(Math.max(0, whole - this.nFft + this.hopLength) / this.hopLength);
    return Math.max(0, hops * this.hopLength + this.decodingWindow - samples);
  }

  /**
   * How many frames an utterance of so many samples has, its silence included.
   * @param {number} samples
   */
  total(samples) {
    if (samples < this.decodingWindow) return this.complete(this.decodingWindow);
    const padded = samples + this.silence(samples);
    return Math.floor((padded + 2 * this.edge - this.nFft) / this.hopLength) + 1;
  }
}
