/** Reads a WAV file of 16-bit samples in one channel, as the shipped recordings are. */

import { ContractError } from "./errors.js";

/**
 * By hand, for a browser's own reader is off by up to 1.5e-5 from 16 bits / 32768.
 * @param {Uint8Array} data
 * @param {string} where for errors.
 * @returns {{sampleRate: number, samples: Float32Array}} samples in [-1, 1).
 * @throws {ContractError} it is another kind of file.
 */
export function readWav(data, where) {
  /** @param {string} why */
  const broken = (why) =>
    new ContractError(`${where}: expected a WAV file of 16-bit samples in one channel, ${why}.`);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  /** @param {number} at */
  const tag = (at) => String.fromCharCode(...data.subarray(at, at + 4));
  if (tag(0) !== "RIFF" || tag(8) !== "WAVE") throw broken("got another file");
  let sampleRate = 0;
  for (let at = 12; at + 8 <= data.length; ) {
    const name = tag(at);
    const length = Math.min(view.getUint32(at + 4, true), data.length - at - 8);
    at += 8;
    if (name === "fmt ") {
      if (length < 16) throw broken("its header is cut");
      const [format, channels, bits] = [0, 2, 14].map((skip) => view.getUint16(at + skip, true));
      if (format !== 1 || channels !== 1 || bits !== 16) {
        throw broken(`got format ${format}, ${channels} channels, ${bits} bits`);
      }
      sampleRate = view.getUint32(at + 4, true);
    } else if (name === "data") {
      if (!sampleRate) throw broken("its header is missing");
      const samples = Float32Array.from(
        { length: Math.floor(length / 2) },
        (_, index) => view.getInt16(at + 2 * index, true) / 32768,
      );
      return { sampleRate, samples };
    }
    at += length + (length % 2);
  }
  throw broken("it holds no samples");
}
