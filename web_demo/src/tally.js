/**
 * What was measured of one graph; deploy_bias.runtime.proof.tally in Python.
 *
 * @typedef {import("./tensor.js").Tensor} Tensor
 */

import { sizeOf } from "./tensor.js";

const TINY = 2 ** -126;

export class Tally {
  /** @type {number[]} milliseconds of each run. */
  times = [];
  /** The largest difference of any element. */
  error = 0;
  /** The worst error over its limit. */
  worst = 0;
  /** @type {string | null} why it is wrong, with case, step and output. */
  problem = null;
  /** Labels of the stored utterances. */
  compared = 0;
  agreed = 0;
  /** @type {Map<string, [number, number]>} of each output: squares of what is off, and of eager's. */
  squares = new Map();

  /**
   * Runs a graph.
   * @param {import("./graph.js").Graph} graph
   * @param {Tensor[]} inputs
   */
  async timed(graph, inputs) {
    const begin = performance.now();
    const outputs = await graph.run(inputs);
    this.times.push(performance.now() - begin);
    return outputs;
  }

  /**
   * Compares each element with eager's.
   * @param {Iterable<[number, number, number]>} elements got, eager's, and the limit.
   * @param {string} where
   * @returns {number} the worst error over its limit.
   */
  compare(elements, where) {
    let worst = 0;
    for (const [got, wanted, limit] of elements) {
      const off = difference(got, wanted);
      const over = off === 0 || limit === Infinity ? 0 : off / limit;
      this.error = Math.max(this.error, off);
      worst = Math.max(worst, over);
      this.over(over, () => `${where}: off by ${digits(off)}, allowed ${digits(limit)}`);
    }
    return worst;
  }

  /**
   * Adds to the distance of an output.
   * @param {string} name
   * @param {Iterable<[number, number, number]>} elements got, eager's, and nothing.
   * @param {string} where
   */
  measure(name, elements, where) {
    const squares = this.squares.get(name) ?? [0, 0];
    this.squares.set(name, squares);
    for (const [got, wanted] of elements) {
      const off = difference(got, wanted);
      this.error = Math.max(this.error, off);
      if (off === Infinity) this.over(Infinity, () => `${where}: NaN or infinity`);
      else {
        squares[0] += off * off;
        squares[1] += wanted * wanted;
      }
    }
  }

  /**
   * Compares the distance of an output with its limit.
   * @param {string} name
   * @param {number} limit
   */
  judge(name, limit) {
    const [off, usual] = this.squares.get(name) ?? [0, 0];
    const distance = Math.sqrt(off / Math.max(usual, TINY));
    const percent = (/** @type {number} */ part) => `${(100 * part).toFixed(2)}%`;
    this.over(
      distance / limit,
      () => `${name}: ${percent(distance)} off, at most ${percent(limit)} allowed`,
    );
  }

  /**
   * Notes what part of its limit an error is.
   * @param {number} part
   * @param {() => string} where
   */
  over(part, where) {
    if (!(part > this.worst)) return;
    this.worst = part;
    if (part > 1) this.problem = where();
  }
}

/**
 * The elements of an output beside eager's and their limits; only genuine rows.
 * @param {Tensor} output
 * @param {Tensor} wanted
 * @param {Tensor | null} limits
 * @param {number | null} rows of axis 1 that are genuine; null is all.
 * @returns {Generator<[number, number, number]>}
 */
export function* elementsOf({ data, shape }, wanted, limits, rows) {
  const width = rows === null ? data.length : sizeOf(shape.slice(2));
  for (let at = 0; at < data.length; at++) {
    if (rows !== null && Math.floor(at / width) % shape[1] >= rows) continue;
    yield [Number(data[at]), Number(wanted.data[at]), limits ? Number(limits.data[at]) : 0];
  }
}

/**
 * The distance of an element; what is not finite must be so in the same places.
 * @param {number} got
 * @param {number} wanted
 */
function difference(got, wanted) {
  if (got === wanted || (Number.isNaN(got) && Number.isNaN(wanted))) return 0;
  const off = Math.abs(got - wanted);
  return Number.isNaN(off) ? Infinity : off;
}

/** @param {number} value */
const digits = (value) => Number(value.toPrecision(2)).toString();
