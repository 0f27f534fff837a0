/** Taps the sound of the microphone: posts pieces of 100 ms to a port, and the rest at the end. */

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(Math.round(sampleRate / 10));
    this.filled = 0;
    /** @type {MessagePort | null} */
    this.target = null;
    this.ended = false;
    this.port.onmessage = ({ data }) => {
      if (data.target) this.target = data.target;
      else this.end();
    };
  }

  /** @param {Float32Array[][]} inputs */
  process([[samples]]) {
    if (this.ended) return false;
    for (let at = 0; samples && at < samples.length; ) {
      const taken = samples.subarray(at, at + this.piece.length - this.filled);
      this.piece.set(taken, this.filled);
      this.filled += taken.length;
      at += taken.length;
      if (this.filled === this.piece.length) this.post();
    }
    return true;
  }

  post() {
    const samples = this.piece.slice(0, this.filled);
    this.target?.postMessage(samples, [samples.buffer]);
    this.filled = 0;
  }

  end() {
    this.ended = true;
    this.post();
    this.target?.postMessage(null);
    this.port.postMessage("ended");
  }
}

registerProcessor("tap", Tap);
