/**
 * manifest.json, and the label that every artifact carries.
 *
 * @typedef {{path: string, sha256: string, bytes: number}} BundleFile
 * @typedef {import("./contract.js").GraphContract} GraphContract
 * @typedef {{delegated: Record<string, number>, undelegated: Record<string, number>}} Operators
 * @typedef {BundleFile & {backend: string, precision: string, graphs: GraphContract[],
 *   operators: Record<string, Operators>}} Artifact
 * @typedef {{format: string, format_version: number, exporter: Record<string, string>,
 *   source: Record<string, string>, options: Record<string, unknown>, weights: BundleFile,
 *   vectors: BundleFile, limits?: BundleFile | null, tokens?: BundleFile | null, token_type?: string | null,
 *   bpe_model?: BundleFile | null, artifacts: Artifact[]}} Manifest
 * @typedef {{format: string, format_version: number, exporter: Record<string, string>,
 *   weights_sha256: string, precision: string, graphs: GraphContract[]}} Label
 */

import { graphContract } from "./contract.js";
import { BundleError } from "./errors.js";
import * as schema from "./schema.js";

export const FORMAT = "deploy_bias";
export const FORMAT_VERSION = 2;

const precision = schema.literal("fp32", "int8", "int4", "auto");
const sha256 = schema.pattern(/^[0-9a-f]{64}$/);
const texts = schema.dictionary(schema.string);
const counts = schema.dictionary(schema.integer);

/** @type {schema.Schema} */
function innerPath(value, at) {
  schema.string(value, at);
  const path = String(value);
  if (!path || /^[/]|[\\:]/.test(path) || path.split("/").includes("..")) {
    throw new schema.Misfit(at, `Value error, path '${path}' leaves the bundle`);
  }
}

const fields = { path: innerPath, sha256, bytes: schema.nonNegative };
const file = schema.object("File", fields);
const artifact = schema.object("Artifact", {
  ...fields,
  backend: schema.string,
  precision,
  graphs: schema.array(graphContract, 1),
  operators: schema.dictionary(
    schema.object("Operators", { delegated: counts, undelegated: counts }),
  ),
});

export const manifestSchema = schema.object(
  "Manifest",
  {
    exporter: texts,
    source: texts,
    options: schema.dictionary(schema.anything),
    weights: file,
    vectors: file,
    artifacts: schema.array(artifact, 1),
  },
  {
    format: schema.string,
    format_version: schema.positive,
    float_layers: schema.dictionary(texts),
    limits: schema.nullable(file),
    tokens: schema.nullable(file),
    token_type: schema.nullable(schema.literal("bpe", "char", "word", "phn")),
    bpe_model: schema.nullable(file),
  },
);

export const labelSchema = schema.object(
  "Label",
  { exporter: texts, weights_sha256: sha256, precision, graphs: schema.array(graphContract) },
  { format: schema.string, format_version: schema.positive },
);

/**
 * Reads a manifest or a label, the version before all else.
 * @param {schema.Schema} kind
 * @param {string} text
 * @param {string} where
 * @returns {any}
 * @throws {BundleError} not JSON, foreign, of another version, or against the schema.
 */
export function parse(kind, text, where) {
  let content;
  try {
    content = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new BundleError(`${where}: not JSON (${why}); export again.`, { cause: error });
  }
  const format = schema.isObject(content) ? content.format : content;
  if (!schema.isObject(content) || format !== FORMAT) {
    throw new BundleError(
      `${where}: format is ${shown(format)}, expected '${FORMAT}'; name a file or folder that ` +
        "`deploy-bias export` wrote.",
    );
  }
  const version = content.format_version;
  if (typeof version !== "number" || !Number.isInteger(version)) {
    throw new BundleError(
      `${where}: format_version must be an int, got ${shown(version)}; export again.`,
    );
  }
  if (version !== FORMAT_VERSION) {
    const wayOut = version > FORMAT_VERSION ? "upgrade deploy-bias, or export" : "export";
    throw new BundleError(
      `${where}: format version ${version}, and this deploy_bias reads ${FORMAT_VERSION}; ` +
        `${wayOut} again with this one.`,
    );
  }
  try {
    kind(content, []);
  } catch (error) {
    if (!(error instanceof schema.Misfit)) throw error;
    throw new BundleError(`${where}: ${error.at || "content"}: ${error.message}; export again.`);
  }
  return content;
}

/**
 * As Python shows a value.
 * @param {unknown} value
 */
function shown(value) {
  if (value === undefined || value === null) return "None";
  if (typeof value === "string") return `'${value}'`;
  if (typeof value === "boolean") return value ? "True" : "False";
  return JSON.stringify(value);
}
