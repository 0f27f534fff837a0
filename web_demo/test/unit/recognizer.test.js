import assert from "node:assert/strict";
import test from "node:test";

import { Recognizer } from "../../src/index.js";
import { backend, json, open, recording } from "./expected.js";

const bundle = await open();
const expected = await json("recordings.json");

/**
 * @param {Recognizer} recognizer
 * @param {Float32Array} samples
 * @param {() => number} piece
 */
async function hear(recognizer, samples, piece = () => 800) {
  const stream = recognizer.createStream();
  for (let at = 0; at < samples.length; ) {
    const end = at + piece();
    stream.acceptWaveform(recognizer.sampleRate, samples.slice(at, end));
    while (recognizer.isReady(stream)) await recognizer.decodeStream(stream);
    at = end;
  }
  stream.inputFinished();
  while (recognizer.isReady(stream)) await recognizer.decodeStream(stream);
  return recognizer.getResult(stream);
}

const recognizer = await Recognizer.open(bundle, backend);

/**
 * Scores are sums of rounded numbers, and wasm adds in another order than native code.
 * @param {number} got
 * @param {number} wanted
 * @param {string} name
 */
const near = (got, wanted, name) => assert.ok(Math.abs(got - wanted) < 1e-4, `${name}: ${got}, ${wanted}`);

test("each recording is heard as in Python, label for label and time for time", async () => {
  for (const [name, wanted] of Object.entries(expected.heard)) {
    const found = await hear(recognizer, (await recording(name)).samples);
    assert.equal(found.text, wanted.text, name);
    assert.deepEqual(found.tokens, wanted.tokens, name);
    assert.deepEqual(found.labels, wanted.labels, name);
    assert.deepEqual(found.timestamps, wanted.timestamps, name);
    near(found.score, wanted.score, name);
    near(found.confidence, wanted.confidence, name);
    found.logProbs.forEach((logProb, at) => near(logProb, wanted.log_probs[at], name));
    found.words.forEach(({ text, start, end, confidence }, at) => {
      const word = wanted.words[at];
      assert.deepEqual([text, start, end], word.slice(0, 3), name);
      near(confidence, word[3], name);
    });
    assert.equal(found.words.length, wanted.words.length);
    assert.ok(found.isFinal);
  }
});

test("in int8 likewise; wasm rounds it otherwise, so a time may be a frame off", async () => {
  const recognizer = await Recognizer.open(bundle, backend, { precision: "int8" });
  for (const [name, wanted] of Object.entries(expected.heard_int8)) {
    const found = await hear(recognizer, (await recording(name)).samples);
    assert.deepEqual(found.labels, wanted.labels, name);
    found.timestamps.forEach((time, at) => {
      assert.ok(Math.abs(time - wanted.timestamps[at]) < 1.01 * recognizer.frameSeconds, name);
    });
  }
});

test("the pieces that audio comes in do not matter", async () => {
  const { samples } = await recording("prompts_0.wav");
  const wanted = await hear(recognizer, samples);
  let seed = 31;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (const most of [60, 7000, 100_000]) {
    const found = await hear(recognizer, samples, () => 1 + Math.floor(random() * most));
    assert.deepEqual(found, wanted);
  }
});

test("an utterance ends, and the next one begins", async () => {
  const { samples } = await recording("digits_55.wav");
  const stream = recognizer.createStream();
  const texts = [];
  for (let round = 0; round < 2; round++) {
    stream.acceptWaveform(8000, samples);
    stream.acceptWaveform(8000, new Float32Array(16_000));
    while (recognizer.isReady(stream)) {
      await recognizer.decodeStream(stream);
      const { text } = recognizer.getResult(stream);
      if (recognizer.isEndpoint(stream) && text) {
        texts.push(text);
        recognizer.reset(stream);
      }
    }
  }
  assert.deepEqual(texts, ["five five", "five five"]);
  assert.ok(recognizer.getResult(stream).startTime > 2);
});

test("nothing said is an empty text", async () => {
  for (const length of [0, 1, 20_000]) {
    assert.equal((await hear(recognizer, new Float32Array(length))).text, "");
  }
});

test("bad audio is an error, and the stream goes on", async () => {
  const stream = recognizer.createStream();
  assert.throws(() => stream.acceptWaveform(8000, Float32Array.of(0, NaN)), {
    message: "sample 1 of 2 is nan; expected finite samples in [-1, 1); divide 16-bit samples by 32768.",
  });
  assert.throws(() => stream.acceptWaveform(16_000, Float32Array.of(0)), {
    message: "audio at 16000 Hz, expected 8000 Hz, the model's; record at that rate.",
  });
  stream.acceptWaveform(8000, new Float32Array(4000)); // one window, with the lead-in
  const turn = recognizer.decodeStream(stream);
  stream.inputFinished();
  await assert.rejects(recognizer.decodeStream(stream), /another call decodes this stream/);
  await turn;
  assert.throws(() => stream.inputFinished(), /the input of the stream is finished/);
  await recognizer.decodeStream(stream);
  await assert.rejects(recognizer.decodeStream(stream), /nothing to decode yet/);
  assert.equal(recognizer.getResult(stream).text, "");
});

test("options out of range are named", async () => {
  await assert.rejects(Recognizer.open(bundle, backend, { leadIn: 60 }), {
    name: "OptionError",
    message: "lead_in must be 0 to 60 seconds, got 60.",
  });
  await assert.rejects(Recognizer.open(bundle, backend, { precision: "int4" }), /in precision 'int4'; it has/);
});
