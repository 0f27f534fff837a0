/**
 * Hears what comes by a port, window by window, utterance by utterance.
 *
 * @typedef {import("../src/recognizer.js").Recognition} Recognition
 * @typedef {import("../src/recognizer.js").Recognizer} Recognizer
 * @typedef {{kind: "level", level: number}} LevelEvent the root mean square of a piece.
 * @typedef {{kind: "heard", recognition: Recognition, isEnd: boolean, seconds: number,
 *   realTimeFactor: number, waiting: number}} HeardEvent isEnd: of an utterance; waiting: seconds of
 *   sound that are not decoded yet.
 */

/**
 * @param {Recognizer} recognizer
 * @param {MessagePort} port posts samples at the recogniser's rate, Float32Array by Float32Array, and
 *   null at the end.
 * @param {(event: LevelEvent | HeardEvent) => void} tell
 * @returns {Promise<void>} when all was decoded.
 */
export function listen(recognizer, port, tell) {
  const stream = recognizer.createStream();
  const windowSeconds = recognizer.chunking.decodingWindow / recognizer.sampleRate;
  let samples = 0;
  let computed = 0;

  async function decode() {
    while (recognizer.isReady(stream)) {
      const begin = performance.now();
      await recognizer.decodeStream(stream);
      computed += performance.now() - begin;
      const recognition = recognizer.getResult(stream);
      const isEnd = recognition.isFinal || recognizer.isEndpoint(stream);
      const seconds = samples / recognizer.sampleRate;
      tell({
        kind: "heard",
        recognition,
        isEnd,
        seconds,
        realTimeFactor: computed / 1000 / seconds,
        waiting: stream.samples.windows.length * windowSeconds,
      });
      if (isEnd && !recognition.isFinal) recognizer.reset(stream);
    }
  }

  return new Promise((resolve, reject) => {
    let turn = Promise.resolve();
    port.onmessage = ({ data }) => {
      try {
        if (data === null) {
          stream.inputFinished();
          port.close();
        } else {
          stream.acceptWaveform(recognizer.sampleRate, data);
          samples += data.length;
          tell({ kind: "level", level: rootMeanSquare(data) });
        }
      } catch (error) {
        port.close();
        reject(error);
        return;
      }
      // One stream, one queue.
      turn = turn.then(decode);
      turn.then(() => data === null && resolve(), reject);
    };
  });
}

/** @param {Float32Array} samples */
function rootMeanSquare(samples) {
  const sum = samples.reduce((total, sample) => total + sample * sample, 0);
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}
