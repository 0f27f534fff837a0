/**
 * A bundle, opened and checked. Where it lies is the business of a `Folder`.
 *
 * @typedef {import("./manifest.js").Artifact} Artifact
 * @typedef {import("./manifest.js").BundleFile} BundleFile
 * @typedef {import("./manifest.js").Label} Label
 * @typedef {import("./manifest.js").Manifest} Manifest
 *
 * @typedef {object} Folder where a bundle lies: `webFolder` here, `nodeFolder` of deploy-bias/node.
 * @property {string} name for errors.
 * @property {(path: string) => Promise<Uint8Array<ArrayBuffer> | null>} read the bytes of a file;
 *   null if there is none. It may throw a BundleError.
 */

import { BackendError, BundleError, reasonOf } from "./errors.js";
import { FORMAT, FORMAT_VERSION, labelSchema, manifestSchema, parse } from "./manifest.js";
import { readSafetensors } from "./safetensors.js";

const MANIFEST = "manifest.json";

/** The folder that `export` writes and every runtime reads. */
export class Bundle {
  /**
   * @param {Folder} folder
   * @param {Manifest} manifest
   */
  constructor(folder, manifest) {
    this.folder = folder;
    this.manifest = manifest;
  }

  /**
   * @param {Folder} folder
   * @throws {BundleError} the manifest is missing, corrupt, foreign or of another version.
   */
  static async open(folder) {
    const data = await folder.read(MANIFEST);
    if (!data) {
      throw new BundleError(
        `${folder.name}: holds no manifest.json; expected a bundle, the folder that ` +
          "`deploy-bias export` writes.",
      );
    }
    const text = new TextDecoder().decode(data);
    return new Bundle(folder, parse(manifestSchema, text, `${folder.name}/${MANIFEST}`));
  }

  /**
   * The bytes of a file of the manifest.
   * @param {BundleFile} file
   * @throws {BundleError} it is missing, or its hash differs.
   */
  async read(file) {
    const path = this.where(file);
    const data = await this.folder.read(file.path);
    if (!data) throw new BundleError(`${path}: missing, but the manifest lists it; export again.`);
    const hash = await sha256(data);
    if (hash !== file.sha256 || data.length !== file.bytes) {
      throw new BundleError(
        `${path}: sha256 ${hash.slice(0, 12)}…, ${data.length} bytes; the manifest says ` +
          `${file.sha256.slice(0, 12)}…, ${file.bytes} bytes. It was changed or cut; export again.`,
      );
    }
    return data;
  }

  /**
   * The tensors of a safetensors file of the manifest, by name.
   * @param {BundleFile} file
   */
  async tensors(file) {
    return readSafetensors(await this.read(file), this.where(file));
  }

  /**
   * The artifacts of one backend and precision.
   * @param {string} backend
   * @param {string} [precision]
   * @throws {BackendError} there are none.
   */
  artifacts(backend, precision = "fp32") {
    const artifacts = this.manifest.artifacts.filter(
      (artifact) => artifact.backend === backend && artifact.precision === precision,
    );
    if (!artifacts.length) {
      const backends = [...new Set(this.manifest.artifacts.map((artifact) => artifact.backend))];
      const has = backends.map((name) => `${name} (${this.precisions(name).join(", ")})`);
      throw new BackendError(
        `${this.folder.name}: no artifact for backend '${backend}' in precision '${precision}'; ` +
          `it has ${has.join(", ")}. Take one of these, or export again with what is missing.`,
      );
    }
    return artifacts;
  }

  /**
   * The precisions that a backend has here, in the order they were exported.
   * @param {string} backend
   */
  precisions(backend) {
    const artifacts = this.manifest.artifacts.filter((artifact) => artifact.backend === backend);
    return [...new Set(artifacts.map((artifact) => artifact.precision))];
  }

  /**
   * Checks the label inside an artifact against the manifest.
   * @param {Artifact} artifact
   * @param {string | null} text
   * @throws {BundleError} there is none, or it tells of another export.
   */
  checkLabel(artifact, text) {
    const path = this.where(artifact);
    if (!text) {
      throw new BundleError(
        `${path}: carries no deploy_bias label; expected a file that \`deploy-bias export\` wrote.`,
      );
    }
    const label = /** @type {Record<string, unknown>} */ (parse(labelSchema, text, path));
    const { exporter, weights } = this.manifest;
    /** @type {Label} */
    const expected = {
      format: FORMAT,
      format_version: FORMAT_VERSION,
      exporter,
      weights_sha256: weights.sha256,
      precision: artifact.precision,
      graphs: artifact.graphs,
    };
    for (const [field, value] of Object.entries(expected)) {
      if (canonical(label[field]) !== canonical(value)) {
        throw new BundleError(
          `${path}: its own ${field} differs from the manifest's: found ${shown(label[field])}, ` +
            `expected ${shown(value)}. The file is from another bundle; export again.`,
        );
      }
    }
  }

  /** @param {BundleFile} file */
  where(file) {
    return `${this.folder.name}/${file.path}`;
  }
}

/**
 * A bundle that lies on a web server.
 * @param {string | URL} address of its folder.
 * @param {string} [name] for errors; the address if it is left out.
 * @returns {Folder}
 */
export function webFolder(address, name = String(address).replace(/[/]$/, "")) {
  const base = new URL(String(address).replace(/[/]?$/, "/"), globalThis.location?.href);
  return {
    name,
    read: (path) => fetchBytes(new URL(path, base), `${name}/${path}`),
  };
}

/**
 * The bytes behind an address; null if there is no such file.
 * @param {string | URL} address
 * @param {string} where for errors.
 * @throws {BundleError} the connection or the server failed.
 */
export async function fetchBytes(address, where) {
  /** @type {string} */
  let why;
  try {
    const response = await fetch(address);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
    if (response.status === 404) return null;
    why = `the server says ${response.status} ${response.statusText}`.trim();
  } catch (error) {
    why = `the connection was lost: ${reasonOf(error)}`;
  }
  throw new BundleError(`${where}: cannot be loaded (${why}); try again.`);
}

/** @param {Uint8Array<ArrayBuffer>} data */
async function sha256(data) {
  if (!globalThis.crypto?.subtle) {
    throw new BackendError(
      "this page may not compute hashes (crypto.subtle is missing); open it by https or localhost.",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A value as text, in which the order of fields and fields that are null do not matter.
 * @param {unknown} value
 */
function canonical(value) {
  return JSON.stringify(value, (_, item) => {
    if (typeof item !== "object" || item === null || Array.isArray(item)) return item;
    const fields = Object.entries(item).filter(([, part]) => part !== null);
    return Object.fromEntries(fields.sort(([one], [other]) => (one < other ? -1 : 1)));
  });
}

/** @param {unknown} value */
const shown = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
