/** Reads a safetensors file: the length of a JSON header, the header, the numbers. */

import { BundleError, reasonOf } from "./errors.js";
import { sizeOf } from "./tensor.js";

/** @typedef {import("./tensor.js").Tensor} Tensor */

/** @type {Record<string, {dtype: import("./tensor.js").DType, bytes: number}>} */
const DTYPES = { F32: { dtype: "float32", bytes: 4 }, I64: { dtype: "int64", bytes: 8 } };

/**
 * @param {Uint8Array} data
 * @param {string} where for errors.
 * @returns {Map<string, Tensor>}
 * @throws {BundleError} it is none, or holds another dtype than float32 and int64.
 */
export function readSafetensors(data, where) {
  try {
    if (data.length < 8) throw new Error(`${data.length} bytes`);
    const length = new DataView(data.buffer, data.byteOffset).getBigUint64(0, true);
    if (length < 2n || length > BigInt(data.length - 8)) throw new Error(`a header of ${length} bytes`);
    const start = 8 + Number(length);
    const header = JSON.parse(new TextDecoder().decode(data.subarray(8, start)));
    delete header.__metadata__;
    return new Map(
      Object.entries(header).map(([name, entry]) => [name, tensor(name, entry, data, start)]),
    );
  } catch (error) {
    throw new BundleError(`${where}: not safetensors (${reasonOf(error)}).`, { cause: error });
  }
}

/**
 * @param {string} name
 * @param {{dtype: string, shape: number[], data_offsets: [number, number]}} entry
 * @param {Uint8Array} data
 * @param {number} start
 * @returns {Tensor}
 */
function tensor(name, entry, data, start) {
  const kind = DTYPES[entry.dtype];
  if (!kind) throw new Error(`${name} has dtype ${entry.dtype}`);
  const [from, to] = entry.data_offsets;
  if (from < 0 || to - from !== sizeOf(entry.shape) * kind.bytes || to > data.length - start) {
    throw new Error(`${name} lies at ${from} to ${to}`);
  }
  const { buffer } = data.slice(start + from, start + to); // a copy, so aligned
  const values = kind.dtype === "int64" ? new BigInt64Array(buffer) : new Float32Array(buffer);
  return { dtype: kind.dtype, shape: entry.shape, data: values };
}
