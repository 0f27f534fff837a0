/** From labels to text. */

import { BundleError } from "./errors.js";

const WORD_START = "▁";
const SPACE = "<space>";

/** The tokens of a bundle, by label. */
export class Tokens {
  /**
   * @param {string[]} tokens
   * @param {string | null} [kind] of the tokens; by their looks if it is left out.
   */
  constructor(tokens, kind) {
    this.tokens = tokens;
    // As ESPnet's tokenizers join them. Pieces are joined where words start, as in Python without
    // sentencepiece.
    const looks = tokens.some((token) => token.startsWith(WORD_START))
      ? "bpe"
      : tokens.includes(SPACE)
        ? "char"
        : "word";
    this.kind = kind ?? looks;
  }

  /**
   * @param {import("./bundle.js").Bundle} bundle with a decoder in it.
   * @throws {BundleError} it has no tokens, or they are damaged.
   */
  static async of(bundle) {
    const { tokens, token_type: kind } = bundle.manifest;
    if (!tokens) {
      throw new BundleError(
        `${bundle.folder.name}: holds biases alone, nothing to decode with; export the whole ` +
          "experiment.",
      );
    }
    const text = new TextDecoder().decode(await bundle.read(tokens));
    const lines = text.replace(/\n$/, "").split("\n");
    return new Tokens(
      lines.map((line) => line.slice(0, Math.max(line.lastIndexOf(" "), 0))),
      kind,
    );
  }

  /**
   * The text of labels.
   * @param {readonly number[]} labels
   */
  text(labels) {
    const tokens = labels.map((label) => this.tokens[label]);
    if (this.kind === "bpe") return tokens.join("").replaceAll(WORD_START, " ").trim();
    if (this.kind === "char") {
      return tokens.map((token) => (token === SPACE ? " " : token)).join("");
    }
    return tokens.join(this.kind === "phn" ? "" : " ");
  }

  /**
   * Where each word of the text of labels is among them: its first label, and the one behind it.
   * Words are what spaces part; the text of phones has none.
   * @param {readonly number[]} labels
   */
  words(labels) {
    /** @type {[number, number][]} */
    const words = [];
    let begun = -1;
    labels.forEach((label, place) => {
      const token = this.tokens[label];
      const space = this.kind === "char" && token === SPACE;
      const starts = this.kind === "word" || (this.kind === "bpe" && token.startsWith(WORD_START));
      if (begun >= 0 && (space || starts)) {
        words.push([begun, place]);
        begun = -1;
      }
      if (begun < 0 && !space) begun = place;
    });
    if (begun >= 0) words.push([begun, labels.length]);
    return words.filter(([start, stop]) => this.text(labels.slice(start, stop)).trim());
  }
}
