/** What needs Node: a bundle that lies in a folder of this machine. */

import { readFile, realpath } from "node:fs/promises";
import { join, sep } from "node:path";

import { BundleError } from "./errors.js";

/**
 * @param {string} path
 * @returns {import("./bundle.js").Folder}
 */
export function nodeFolder(path) {
  return {
    name: path,
    async read(inner) {
      const file = join(path, inner);
      try {
        if (!(await realpath(file)).startsWith((await realpath(path)) + sep)) {
          throw new BundleError(`${file}: a link that leaves the bundle; export again.`);
        }
        return new Uint8Array(await readFile(file));
      } catch (error) {
        if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return null;
        throw error;
      }
    },
  };
}
