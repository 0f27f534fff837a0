/**
 * What was heard, as it grows.
 *
 * @typedef {import("../src/recognizer.js").Word} Word
 */

import { element, make, row } from "./dom.js";

/** Words below it are marked. */
const SURE = 0.7;

export class Transcript {
  constructor() {
    this.log = element("transcript");
    this.partial = element("partial");
    this.words = element("words");
  }

  /** Begins a recording. */
  begin() {
    this.log.replaceChildren();
    this.partial.textContent = "";
    this.words.hidden = true;
    this.table.replaceChildren();
  }

  /** @param {import("./listening.js").HeardEvent} event */
  show({ recognition, isEnd }) {
    if (!isEnd) {
      this.partial.textContent = recognition.text;
      return;
    }
    this.partial.textContent = "";
    if (!recognition.words.length) return;
    this.log.append(make("p", {}, ...recognition.words.flatMap(marked)));
    this.log.scrollTop = this.log.scrollHeight;
    this.words.hidden = false;
    for (const { text, start, confidence } of recognition.words) {
      const at = (recognition.startTime + start).toFixed(2);
      this.table.append(
        row([
          [text, ""],
          [at, "number"],
          [percent(confidence), "number"],
        ]),
      );
    }
  }

  get table() {
    return /** @type {HTMLTableElement} */ (this.words.querySelector("table")).tBodies[0];
  }
}

/**
 * A word and a space; marked if the model is unsure.
 * @param {Word} word
 */
function marked({ text, confidence }) {
  const kind = Math.exp(confidence) < SURE ? "unsure" : "";
  return [make("span", { class: kind, title: `confidence ${percent(confidence)}` }, text), " "];
}

/**
 * @param {number} confidence a log-probability.
 */
const percent = (confidence) => `${(100 * Math.exp(confidence)).toFixed(0)} %`;
