/**
 * The last rows of a series, as a value: appending gives the next window and leaves this one as it
 * was. A window is a piece of a buffer of twice its rows: appending writes behind it, and only a
 * second append to the same window, or a full buffer, copies it.
 *
 * Legend of the shapes: B batch, N rows.
 */

import { copyNumbers, numbers, sizeOf } from "./tensor.js";

/**
 * @typedef {import("./tensor.js").Numbers} Numbers
 * @typedef {import("./tensor.js").Tensor} Tensor
 * @typedef {{data: Numbers, used: number}} Buffer used: how many spare rows were written.
 */

export class Window {
  /**
   * @param {import("./tensor.js").DType} dtype
   * @param {readonly number[]} shape (B, N, ...).
   * @param {Buffer} [buffer] of zeros if it is left out.
   * @param {number} [at] the row of the buffer that it begins with.
   */
  constructor(dtype, shape, buffer, at = 0) {
    this.dtype = dtype;
    this.shape = shape;
    this.batch = shape[0];
    this.rows = shape[1];
    this.width = sizeOf(shape) / (this.batch * this.rows);
    /** @private */
    this.buffer = buffer ?? { data: numbers(dtype, 2 * sizeOf(shape)), used: 0 };
    /** @private */
    this.at = at;
  }

  /**
   * The window as an input of a graph, the oldest row first; not to be written.
   * @returns {Tensor}
   */
  view() {
    const { dtype, shape, batch } = this;
    const size = this.rows * this.width;
    const { data } = this.buffer;
    if (batch === 1) {
      return { dtype, shape, data: data.subarray(this.place(0, 0), this.place(0, 0) + size) };
    }
    // The hypotheses of a batch lie apart in the buffer; a graph wants them side by side.
    const side = numbers(dtype, batch * size);
    for (let lane = 0; lane < batch; lane++) {
      copyNumbers(side, lane * size, data, this.place(lane, 0), size);
    }
    return { dtype, shape, data: side };
  }

  /**
   * The window with more rows, as many oldest ones gone.
   * @param {Numbers} data holds (B, given, ...) from `from` on.
   * @param {number} from
   * @param {number} given rows of each hypothesis.
   * @param {number} count of them that are genuine, the first ones.
   * @returns {Window}
   */
  append(data, from, given, count) {
    const rows = Math.min(count, this.rows);
    if (!rows) return this;
    const free = this.at === this.buffer.used && this.at + rows <= this.rows;
    const base = free ? this : this.copy();
    for (let lane = 0; lane < this.batch; lane++) {
      const source = from + (lane * given + count - rows) * this.width;
      const target = base.place(lane, this.rows);
      copyNumbers(base.buffer.data, target, data, source, rows * this.width);
    }
    base.buffer.used += rows;
    return new Window(this.dtype, this.shape, base.buffer, base.at + rows);
  }

  /** @private */
  copy() {
    const copy = new Window(this.dtype, this.shape);
    const size = this.rows * this.width;
    for (let lane = 0; lane < this.batch; lane++) {
      copyNumbers(copy.buffer.data, copy.place(lane, 0), this.buffer.data, this.place(lane, 0), size);
    }
    return copy;
  }

  /**
   * Where a row of the window lies.
   * @private
   * @param {number} lane
   * @param {number} row
   */
  place(lane, row) {
    return (lane * 2 * this.rows + this.at + row) * this.width;
  }
}
