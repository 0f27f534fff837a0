/**
 * Speech in, text out, with the names of Python's Recognizer, which are sherpa-onnx's.
 *
 * const recognizer = await Recognizer.open(bundle, new OnnxBackend(ort));
 * const stream = recognizer.createStream();
 * stream.acceptWaveform(8000, samples);
 * while (recognizer.isReady(stream)) await recognizer.decodeStream(stream);
 * console.log(recognizer.getResult(stream).text);
 *
 * @typedef {import("./bundle.js").Bundle} Bundle
 * @typedef {import("./graph.js").Graphs} Graphs
 * @typedef {import("./onnx.js").OnnxBackend} OnnxBackend
 *
 * @typedef {object} Word
 * @property {string} text
 * @property {number} start seconds from the `startTime` of its recognition: its first token.
 * @property {number} end a frame behind its last token, or the next word.
 * @property {number} confidence mean natural log-probability of its tokens; 0 is sure.
 *
 * @typedef {object} Recognition what was recognised of an utterance so far.
 * @property {string} text
 * @property {string[]} tokens
 * @property {number[]} timestamps of each token, seconds from `startTime`.
 * @property {number[]} logProbs of each token, among all labels and blank.
 * @property {readonly number[]} labels without blanks.
 * @property {Word[]} words
 * @property {number} confidence mean of logProbs; 0 if there is no token.
 * @property {number} startTime where the utterance begins, seconds from the first sample.
 * @property {number} score natural log-probability of the path.
 * @property {boolean} isFinal the input is over and nothing is left to decode.
 *
 * @typedef {object} EndpointRules where an utterance ends: when any holds. All in seconds.
 * @property {number} rule1MinTrailingSilence so much without a token.
 * @property {number} rule2MinTrailingSilence so much without a token behind a token.
 * @property {number} rule3MinUtteranceLength it is so long.
 */

import { Chunking } from "./chunking.js";
import { settingsOf } from "./contract.js";
import { Decoder } from "./decoder.js";
import { Encoder } from "./encoder.js";
import { BundleError, ContractError, OptionError } from "./errors.js";
import { FeatureStream } from "./features.js";
import { close, load } from "./graph.js";
import { Joint } from "./joint.js";
import { SampleStream } from "./samples.js";
import { GreedySearch } from "./search.js";
import { Tokens } from "./tokens.js";

/**
 * Seconds of silence before the first sample: ESPnet's streaming never decodes the first encoder
 * frame, so a word that begins at once can be lost.
 */
const LEAD_IN = 0.3;
const GRAPHS = ["frontend", "encoder", "decoder", "joint"];

/** @type {EndpointRules} */
const ENDPOINT_RULES = {
  rule1MinTrailingSilence: 2.4,
  rule2MinTrailingSilence: 1.2,
  rule3MinUtteranceLength: 20,
};

export class Recognizer {
  /**
   * @param {Graphs} graphs
   * @param {Tokens} tokens
   * @param {EndpointRules} endpointRules
   * @param {number} leadIn
   */
  constructor(graphs, tokens, endpointRules, leadIn) {
    const settings = settingsOf(graphs.frontend.contract, "frontend");
    this.graphs = graphs;
    this.tokens = tokens;
    this.endpointRules = endpointRules;
    this.chunking = new Chunking(settings);
    /** Of the model, Hz. Audio must come at this rate. */
    this.sampleRate = settings.fs;
    this.leadInSamples = Math.round(leadIn * settings.fs);
    this.encoder = new Encoder(graphs.encoder);
    this.decoder = new Decoder(graphs.decoder);
    this.joint = new Joint(graphs.joint);
    this.frameSeconds = (this.encoder.settings.stride * settings.hop_length) / settings.fs;
  }

  /**
   * @param {Bundle} bundle
   * @param {OnnxBackend} backend
   * @param {{precision?: string, endpointRules?: Partial<EndpointRules>, leadIn?: number}} [options]
   *   leadIn: seconds of silence before the first sample; see LEAD_IN. With 0 the result is ESPnet's
   *   to the letter.
   * @throws {BundleError | BackendError} the bundle is damaged, or has no graphs that stream.
   * @throws {OptionError} an option is out of its range.
   */
  static async open(bundle, backend, { precision = "fp32", endpointRules = {}, leadIn = LEAD_IN } = {}) {
    if (!(leadIn >= 0 && leadIn < 60)) {
      throw new OptionError(`lead_in must be 0 to 60 seconds, got ${leadIn}.`);
    }
    const graphs = await load(bundle, backend, precision);
    try {
      const missing = GRAPHS.filter((name) => !(name in graphs));
      if (missing.length) {
        throw new BundleError(
          `${bundle.folder.name}: has no graph ${missing.join(" and no graph ")} for ` +
            `${backend.name}, so no speech can be recognised in a stream; export an experiment whose ` +
            "config.yaml has the frontend and the encoder, without --offline.",
        );
      }
      const rules = { ...ENDPOINT_RULES, ...endpointRules };
      const recognizer = new Recognizer(graphs, await Tokens.of(bundle), rules, leadIn);
      recognizer.openSearch(); // so that an error of the model shows here
      return recognizer;
    } catch (error) {
      await close(graphs);
      throw error;
    }
  }

  openSearch() {
    return new GreedySearch(this.decoder, this.joint);
  }

  createStream() {
    return new RecognizerStream(this);
  }

  /**
   * Whether there is a whole decoding window, or the end of the input, to decode.
   * @param {RecognizerStream} stream
   */
  isReady(stream) {
    return stream.samples.windows.length > 0;
  }

  /**
   * Decodes one window.
   * @param {RecognizerStream} stream
   * @throws {ContractError} it has none, or another call decodes it.
   */
  async decodeStream(stream) {
    if (!this.isReady(stream)) {
      throw new ContractError("the stream has nothing to decode yet; ask isReady before.");
    }
    await stream.decode();
  }

  /**
   * What was recognised so far.
   * @param {RecognizerStream} stream
   * @returns {Recognition}
   */
  getResult(stream) {
    const { labels, frames, logProbs, score } = stream.search.result;
    const start = stream.startTime;
    const timestamps = frames.map((frame) => Math.max(0, (stream.times.get(frame) ?? 0) - start));
    return {
      text: this.tokens.text(labels),
      tokens: labels.map((label) => this.tokens.tokens[label]),
      timestamps,
      logProbs: [...logProbs],
      labels,
      words: this.words(labels, logProbs, timestamps),
      confidence: mean(logProbs),
      startTime: start,
      score,
      isFinal: stream.isFinal,
    };
  }

  /**
   * @private
   * @param {readonly number[]} labels
   * @param {readonly number[]} logProbs
   * @param {readonly number[]} times
   * @returns {Word[]}
   */
  words(labels, logProbs, times) {
    const places = this.tokens.words(labels);
    return places.map(([start, stop], at) => ({
      text: this.tokens.text(labels.slice(start, stop)),
      start: times[start],
      end: Math.min(
        times[stop - 1] + this.frameSeconds,
        at + 1 < places.length ? times[places[at + 1][0]] : Infinity,
      ),
      confidence: mean(logProbs.slice(start, stop)),
    }));
  }

  /**
   * Whether the utterance has ended, by the endpoint rules.
   * @param {RecognizerStream} stream
   */
  isEndpoint(stream) {
    const last = stream.search.result.frames.at(-1);
    const length = stream.frames * this.frameSeconds;
    const behind = last === undefined ? stream.frames : stream.frames - 1 - last;
    const silence = behind * this.frameSeconds;
    const rules = this.endpointRules;
    return (
      silence >= rules.rule1MinTrailingSilence ||
      (rules.rule2MinTrailingSilence <= silence && silence < length) ||
      length >= rules.rule3MinUtteranceLength
    );
  }

  /**
   * Begins a new utterance in the audio that goes on.
   * @param {RecognizerStream} stream
   * @throws {ContractError} a call decodes it.
   */
  reset(stream) {
    stream.beginUtterance();
  }

  /**
   * Recognises a whole utterance.
   * @param {Float32Array} samples in [-1, 1).
   * @param {number} sampleRate Hz.
   */
  async decode(samples, sampleRate) {
    const stream = this.createStream();
    stream.acceptWaveform(sampleRate, samples);
    stream.inputFinished();
    while (this.isReady(stream)) await this.decodeStream(stream);
    return this.getResult(stream);
  }

  /** Gives back the memory of the graphs. */
  close() {
    return close(this.graphs);
  }
}

/** @param {readonly number[]} values */
const mean = (values) =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;

/** Audio on its way to text. */
export class RecognizerStream {
  /** @param {Recognizer} recognizer */
  constructor(recognizer) {
    this.recognizer = recognizer;
    const { chunking, encoder, graphs, leadInSamples, sampleRate } = recognizer;
    this.samples = new SampleStream(sampleRate, chunking.decodingWindow, leadInSamples);
    this.features = new FeatureStream(graphs.frontend, chunking, encoder.featuresShape);
    this.encoder = encoder.stream();
    this.search = recognizer.openSearch();
    this.startTime = 0;
    this.isFinal = false;
    /** Encoder frames of the utterance. */
    this.frames = 0;
    /**
     * Of those that have a label, seconds from the first sample.
     * @type {Map<number, number>}
     */
    this.times = new Map();
    /** @private */
    this.featureFrames = 0;
    /** @private */
    this.lastTime = 0;
    /** @private */
    this.decoding = false;
  }

  /**
   * Takes the next samples, as many as there are.
   * @param {number} sampleRate Hz.
   * @param {Float32Array} samples in [-1, 1), one channel.
   */
  acceptWaveform(sampleRate, samples) {
    this.samples.accept(sampleRate, samples);
  }

  /** Ends the input; what is left of it can be decoded then. */
  inputFinished() {
    this.samples.finish();
  }

  /** Decodes a window; see Recognizer.decodeStream. */
  async decode() {
    this.checkTurn();
    const window = this.samples.windows.shift();
    if (!window) return;
    this.decoding = true;
    try {
      const chunk = await this.features.accept(window.samples, window.isFinal);
      const encoderOut = await this.encoder.accept(chunk);
      const first = Math.max(0, this.featureFrames - this.recognizer.chunking.carried);
      this.featureFrames = first + chunk.frames;
      await this.search.accept(encoderOut);
      for (const frame of this.search.result.frames) {
        // The first embedded frame of a chunk is dropped.
        if (frame >= this.frames) this.times.set(frame, this.time(first, frame - this.frames + 1));
      }
      this.frames += encoderOut.length;
      if (encoderOut.length) this.lastTime = this.time(first, encoderOut.length);
      this.isFinal = window.isFinal;
    } finally {
      this.decoding = false;
    }
  }

  /** Forgets the utterance so far; see Recognizer.reset. */
  beginUtterance() {
    this.checkTurn();
    this.search.reset();
    this.startTime = this.lastTime;
    this.frames = 0;
    this.times.clear();
  }

  /** @private */
  checkTurn() {
    if (this.decoding) {
      throw new ContractError(
        "another call decodes this stream; await it, or create a stream for each.",
      );
    }
  }

  /**
   * When an encoder frame is, by its number behind feature frame `first`.
   * @private
   * @param {number} first
   * @param {number} frame
   */
  time(first, frame) {
    const { chunking, encoder, leadInSamples, sampleRate } = this.recognizer;
    // It sees stride + offset feature frames, each centred on a multiple of hopLength.
    const middle = first + (encoder.settings.stride + encoder.settings.offset - 1) / 2;
    const sample = (middle + frame * encoder.settings.stride) * chunking.hopLength;
    return (sample - leadInSamples) / sampleRate;
  }
}
