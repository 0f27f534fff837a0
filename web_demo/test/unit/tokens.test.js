import assert from "node:assert/strict";
import test from "node:test";

import { readWav, Tokens } from "../../src/index.js";

test("tokens are joined as ESPnet joins them", () => {
  const pieces = new Tokens(["<blank>", "▁he", "llo", "▁you"]);
  assert.equal(pieces.text([1, 2, 3]), "hello you");
  assert.deepEqual(pieces.words([1, 2, 3]), [
    [0, 2],
    [2, 3],
  ]);
  const characters = new Tokens(["<blank>", "h", "i", "<space>"]);
  assert.equal(characters.text([1, 2, 3, 2]), "hi i");
  assert.deepEqual(characters.words([1, 2, 3, 2]), [
    [0, 2],
    [3, 4],
  ]);
  assert.equal(new Tokens(["<blank>", "HH", "AY"], "phn").text([1, 2]), "HHAY");
  assert.equal(new Tokens(["<blank>", "oh", "one"]).text([2, 1]), "one oh");
});

test("what is no WAV file of 16 bits in one channel is named", () => {
  assert.throws(() => readWav(new Uint8Array(3), "x.wav"), {
    name: "ContractError",
    message: "x.wav: expected a WAV file of 16-bit samples in one channel, got another file.",
  });
});
