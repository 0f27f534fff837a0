/**
 * The contract of a graph: its inputs, outputs and state; deploy_bias.bundle.contract in Python.
 *
 * @typedef {{name: string, minimum?: number, maximum: number}} DynamicSize
 * @typedef {{input: string, offset: number, stride: number}} Rows
 * @typedef {{name: string, dtype: string, shape: (number | DynamicSize)[], maximum?: number | null,
 *   rows?: Rows | null}} TensorSpec
 * @typedef {{update: "replace", input: string, output: string, batch_axis?: number,
 *   initial?: number}} Replace
 * @typedef {{update: "append", input: string, output: string, row?: number | null}} Append
 * @typedef {{update: "count", input: string, output?: string | null, initial?: number,
 *   limit: number, restart_at?: number | null}} Count
 * @typedef {Replace | Append | Count} StateRule
 * @typedef {{type: string, weights: string, options?: Record<string, unknown>}} ModuleSpec
 * @typedef {{name: string, kind: string, module: ModuleSpec, settings?: Record<string, unknown>,
 *   inputs: TensorSpec[], outputs: TensorSpec[], state?: StateRule[]}} GraphContract
 * @typedef {{fs: number, n_fft: number, hop_length: number, decoding_window: number,
 *   subsampling_factor: number}} FrontendSettings
 * @typedef {{stride: number, offset: number, left_context: number}} EncoderSettings
 * @typedef {{blank_durations?: number[]}} JointSettings
 * @typedef {import("./schema.js").Schema} Schema
 * @typedef {import("./tensor.js").DType} DType
 */

import { BundleError, ContractError } from "./errors.js";
import * as schema from "./schema.js";
import { zeros } from "./tensor.js";

const DTYPES = ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"];

const dynamicSize = schema.object(
  "DynamicSize",
  { name: schema.string, maximum: schema.positive },
  { minimum: schema.positive },
);
/** @type {Schema} */
const size = (value, at) => (schema.isObject(value) ? dynamicSize : schema.positive)(value, at);

const tensorSpec = schema.object(
  "TensorSpec",
  { name: schema.string, dtype: schema.literal(...DTYPES), shape: schema.array(size) },
  {
    maximum: schema.nullable(schema.nonNegative),
    rows: schema.nullable(
      schema.object("Rows", {
        input: schema.string,
        offset: schema.nonNegative,
        stride: schema.positive,
      }),
    ),
  },
);

const stateRule = schema.tagged("update", {
  replace: schema.object(
    "Replace",
    { input: schema.string, output: schema.string },
    { update: schema.string, batch_axis: schema.nonNegative, initial: schema.number },
  ),
  append: schema.object(
    "Append",
    { input: schema.string, output: schema.string },
    { update: schema.string, row: schema.nullable(schema.nonNegative) },
  ),
  count: schema.object(
    "Count",
    { input: schema.string, limit: schema.positive },
    {
      update: schema.string,
      output: schema.nullable(schema.string),
      initial: schema.nonNegative,
      restart_at: schema.nullable(schema.positive),
    },
  ),
});

export const graphContract = schema.object(
  "GraphContract",
  {
    name: schema.string,
    kind: schema.string,
    module: schema.object(
      "ModuleSpec",
      { type: schema.string, weights: schema.string },
      { options: schema.dictionary(schema.anything) },
    ),
    inputs: schema.array(tensorSpec),
    outputs: schema.array(tensorSpec),
  },
  { settings: schema.dictionary(schema.anything), state: schema.array(stateRule) },
);

const SETTINGS = {
  frontend: schema.object("FrontendSettings", {
    fs: schema.positive,
    n_fft: schema.positive,
    hop_length: schema.positive,
    decoding_window: schema.positive,
    subsampling_factor: schema.positive,
  }),
  encoder: schema.object("EncoderSettings", {
    stride: schema.positive,
    offset: schema.nonNegative,
    left_context: schema.nonNegative,
  }),
  joint: schema.object("JointSettings", {}, { blank_durations: schema.array(schema.positive, 1) }),
};

/**
 * The settings of a contract as a value of their kind.
 * @template {keyof typeof SETTINGS} Kind
 * @param {GraphContract} contract
 * @param {Kind} kind
 * @returns {{frontend: FrontendSettings, encoder: EncoderSettings, joint: JointSettings}[Kind]}
 * @throws {BundleError} they are of another kind.
 */
export function settingsOf(contract, kind) {
  const settings = contract.settings ?? {};
  try {
    SETTINGS[kind](settings, []);
  } catch (error) {
    if (!(error instanceof schema.Misfit)) throw error;
    throw new BundleError(
      `graph '${contract.name}': settings.${error.at}: ${error.message}; export again.`,
    );
  }
  return /** @type {any} */ (settings);
}

/**
 * The inputs that are not state.
 * @param {GraphContract} contract
 */
export function statelessInputs(contract) {
  const carried = new Set((contract.state ?? []).map((rule) => rule.input));
  return contract.inputs.filter((spec) => !carried.has(spec.name));
}

/**
 * How many rows of axis 1 are genuine where the input is `value`.
 * @param {Rows} rows
 * @param {number} value
 */
export const rowCount = (rows, value) =>
  Math.max(Math.floor((value - rows.offset) / rows.stride), 0);

/**
 * A tensor of zeros of a spec.
 * @param {TensorSpec} spec
 * @throws {ContractError} its shape is dynamic, or its numbers have no array here.
 */
export const zerosOf = (spec) => zeros(dtypeOf(spec), staticShape(spec));

/**
 * @param {TensorSpec} spec
 * @returns {DType}
 */
export function dtypeOf(spec) {
  if (spec.dtype === "float32" || spec.dtype === "int64") return spec.dtype;
  throw new ContractError(`${spec.name} is ${spec.dtype}; this runtime takes float32 and int64.`);
}

/**
 * @param {TensorSpec} spec
 * @returns {number[]}
 */
export function staticShape(spec) {
  return spec.shape.map((size) => {
    if (typeof size === "number") return size;
    throw new ContractError(
      `${spec.name} has a dynamic shape; expected static ones, export without --dynamic.`,
    );
  });
}
