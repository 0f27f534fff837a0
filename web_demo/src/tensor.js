/** Arrays of numbers with a shape, row by row. */

import { ContractError } from "./errors.js";

/** @typedef {"float32" | "int64"} DType */
/** @typedef {Float32Array | BigInt64Array} Numbers */
/** @typedef {{dtype: DType, shape: readonly number[], data: Numbers}} Tensor */
/** @typedef {Readonly<Record<string, Tensor>>} Named */

/**
 * @param {DType} dtype
 * @param {number} size
 * @returns {Numbers}
 */
export function numbers(dtype, size) {
  return dtype === "int64" ? new BigInt64Array(size) : new Float32Array(size);
}

/** @param {readonly number[]} shape */
export const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/**
 * @param {DType} dtype
 * @param {readonly number[]} shape
 * @returns {Tensor}
 */
export const zeros = (dtype, shape) => ({ dtype, shape, data: numbers(dtype, sizeOf(shape)) });

/**
 * @param {DType} dtype
 * @param {readonly number[]} shape
 * @param {number} value
 * @returns {Tensor}
 */
export function full(dtype, shape, value) {
  const tensor = zeros(dtype, shape);
  if (tensor.data instanceof BigInt64Array) tensor.data.fill(BigInt(value));
  else tensor.data.fill(value);
  return tensor;
}

/**
 * @param {Float32Array} data
 * @param {readonly number[]} shape
 * @returns {Tensor}
 */
export const float32 = (data, shape) => ({ dtype: "float32", shape, data });

/**
 * The numbers of a float32 tensor.
 * @param {Tensor} tensor
 * @returns {Float32Array}
 */
export function floatsOf(tensor) {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new ContractError(`expected a tensor of float32, got ${tensor.dtype}.`);
}

/**
 * Copies numbers of one dtype.
 * @param {Numbers} target
 * @param {number} at
 * @param {Numbers} source
 * @param {number} from
 * @param {number} count
 */
export function copyNumbers(target, at, source, from, count) {
  // TypeScript does not see that both are of one dtype.
  /** @type {Float32Array} */ (target).set(
    /** @type {Float32Array} */ (source).subarray(from, from + count),
    at,
  );
}
