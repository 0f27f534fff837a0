/** The microphone, at the model's rate: the browser resamples. */

/** What is wrong, in words, by the name of the browser's error. */
const REASONS = {
  NotAllowedError:
    "The microphone was refused. Allow it beside the address of this page, then press Listen again.",
  NotFoundError: "No microphone was found. Plug one in, then press Listen again.",
  NotReadableError:
    "The microphone is taken by another program. Close it there, then press Listen again.",
  NotSupportedError: "This browser cannot resample the microphone to the rate of the model.",
};
const OTHERWISE = "Recordings and files can be heard without it.";

/** The microphone cannot be heard; the message says why. */
export class MicrophoneError extends Error {}

export class Microphone {
  /**
   * @private
   * @param {AudioContext} context
   * @param {MediaStream} stream
   * @param {AudioWorkletNode} tap
   */
  constructor(context, stream, tap) {
    this.context = context;
    this.stream = stream;
    this.tap = tap;
  }

  /**
   * Asks for the microphone.
   * @param {number} sampleRate Hz.
   * @param {MessagePort} target is posted the samples, Float32Array by Float32Array, then null.
   * @param {(message: string) => void} interrupted told that the sound stopped or goes on.
   * @throws {MicrophoneError} it is refused or missing, or comes at another rate.
   */
  static async open(sampleRate, target, interrupted) {
    if (!navigator.mediaDevices) {
      throw new MicrophoneError(
        `A browser gives the microphone to pages on https or localhost alone. ${OTHERWISE}`,
      );
    }
    const context = new AudioContext({ sampleRate });
    try {
      if (context.sampleRate !== sampleRate) {
        throw new MicrophoneError(
          `This browser records at ${context.sampleRate} Hz, and the model hears ${sampleRate} Hz. ` +
            OTHERWISE,
        );
      }
      const [stream] = await Promise.all([
        navigator.mediaDevices.getUserMedia({
          audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
        }),
        context.audioWorklet.addModule(new URL("tap.worklet.js", import.meta.url)),
      ]);
      const tap = new AudioWorkletNode(context, "tap", { channelCount: 1, numberOfOutputs: 0 });
      tap.port.postMessage({ target }, [target]);
      context.createMediaStreamSource(stream).connect(tap);
      await context.resume();
      context.onstatechange = () => {
        if (context.state === "running") interrupted("Listening goes on.");
        else if (context.state !== "closed") {
          interrupted("The browser paused the microphone. What was said before is kept.");
        }
      };
      return new Microphone(context, stream, tap);
    } catch (error) {
      await context.close();
      if (error instanceof MicrophoneError) throw error;
      const { name, message } = /** @type {DOMException} */ (error);
      const reason = REASONS[/** @type {keyof typeof REASONS} */ (name)];
      throw new MicrophoneError(`${reason ?? `The microphone failed (${message}).`} ${OTHERWISE}`);
    }
  }

  /** @param {() => void} callback told that the microphone is gone. */
  set onended(callback) {
    for (const track of this.stream.getTracks()) track.onended = callback;
  }

  /** Ends the sound; what the tap still has is posted. */
  async close() {
    await new Promise((resolve) => {
      this.tap.port.onmessage = resolve; // or the context would close before the tap can post
      this.tap.port.postMessage("end");
    });
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}

/**
 * The samples of a sound file at the model's rate, all channels averaged.
 * @param {ArrayBuffer} data
 * @param {number} sampleRate Hz.
 * @returns {Promise<Float32Array<ArrayBuffer>>}
 */
export async function decodeAudio(data, sampleRate) {
  const context = new OfflineAudioContext(1, 1, sampleRate);
  const audio = await context.decodeAudioData(data); // resamples
  const samples = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((sample, at) => {
      samples[at] += sample / audio.numberOfChannels;
    });
  }
  return samples;
}
