/** What goes wrong on the way to the browser: a server that changes, cuts or loses files. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";

import { expect, hear, heard, test } from "./visit.js";

const SITE = new URL("../../dist/", import.meta.url);
const TYPES = /** @type {Record<string, string>} */ ({
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
});

/** @typedef {(data: Buffer) => Buffer | "missing" | "lost"} Fault */

/** @type {Map<string, Fault>} */
const faults = new Map();
const server = createServer(async (request, response) => {
  const path = (request.url ?? "/").slice(1) || "index.html";
  const data = await readFile(new URL(path, SITE)).catch(() => null);
  const content = data && (faults.get(path)?.(data) ?? data);
  if (!data || content === "missing") {
    response.writeHead(404).end();
  } else if (content === "lost") {
    // Half of what was promised, then nothing.
    response.writeHead(200, { "Content-Length": data.length });
    response.write(data.subarray(0, data.length / 2), () => response.destroy());
  } else {
    response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" });
    response.end(content);
  }
});

test.beforeAll(() => once(server.listen(0, "127.0.0.1"), "listening"));
test.afterAll(() => void server.close());
test.afterEach(() => faults.clear());

/** @param {import("@playwright/test").Page} page */
async function visit(page) {
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  await page.goto(`http://127.0.0.1:${port}/`);
}

/** @type {[string, string, Fault, RegExp][]} */
const LOADING = [
  [
    "one weight changed",
    "bundle/encoder.int8.onnx",
    (data) => {
      const changed = Buffer.from(data);
      changed[data.length >> 1] ^= 1;
      return changed;
    },
    /^bundle\/encoder\.int8\.onnx: sha256 .{13}, \d+ bytes; the manifest says .*changed or cut/,
  ],
  [
    "a cut file",
    "bundle/decoder.int8.onnx",
    (data) => data.subarray(0, 1000),
    /^bundle\/decoder\.int8\.onnx: sha256 .{13}, 1000 bytes; the manifest says /,
  ],
  [
    "a file missing",
    "bundle/joiner.int8.onnx",
    () => "missing",
    /^bundle\/joiner\.int8\.onnx: missing, but the manifest lists it; export again\.$/,
  ],
  [
    "no runtime",
    "ort/ort-wasm-simd-threaded.wasm",
    () => "missing",
    /^ort\/ort-wasm-simd-threaded\.wasm: missing; write the site again by deploy-bias web\.$/,
  ],
];
for (const [name, path, fault, message] of LOADING) {
  test(name, async ({ page }) => {
    faults.set(path, fault);
    await visit(page);
    await page.getByRole("button", { name: "digits_55" }).click();
    await expect(page.locator("#status")).toHaveText(message);
    await expect(page.locator("#status")).toHaveClass("error");
  });
}

test("a manifest of a newer format", async ({ page }) => {
  faults.set("bundle/manifest.json", (data) =>
    Buffer.from(JSON.stringify({ ...JSON.parse(String(data)), format_version: 3 })),
  );
  await visit(page);
  await expect(page.locator("#status")).toHaveText(
    "bundle/manifest.json: format version 3, and this deploy_bias reads 2; upgrade deploy-bias, or " +
      "export again with this one.",
  );
});

test("a connection lost half way is told, and the next click tries again", async ({ page }) => {
  for (const path of ["ort/ort-wasm-simd-threaded.wasm", "bundle/encoder.int8.onnx"]) {
    faults.set(path, () => "lost");
  }
  await visit(page);
  for (const path of faults.keys()) {
    await page.getByRole("button", { name: "digits_55" }).click();
    await expect(page.locator("#status")).toHaveText(/cannot be loaded \(the connection was lost: /);
    await expect(page.locator("#status")).toContainText(path);
    faults.delete(path);
  }
  await hear(page, "digits_55");
  await expect(heard(page)).toHaveText(/five five/);
});

test("a worker that does not come is told", async ({ page }) => {
  faults.set("src/search.js", () => "missing");
  await visit(page);
  await expect(page.locator("#status")).toHaveText(
    /^The page's worker stopped \(.*\)\. Load the page again\.$/,
  );
});
