/**
 * All that computes, off the page's own thread: loads the bundle, hears, proves.
 *
 * The page posts {id, call, ...}; this answers {id, result} or {id, error}, and posts {event} while a
 * stream is heard.
 */

import * as ort from "../ort/ort.wasm.bundle.min.mjs";
import { Bundle, fetchBytes, webFolder } from "../src/bundle.js";
import { settingsOf, zerosOf } from "../src/contract.js";
import { BundleError } from "../src/errors.js";
import { close, load } from "../src/graph.js";
import { OnnxBackend } from "../src/onnx.js";
import { check } from "../src/proof.js";
import { Recognizer } from "../src/recognizer.js";
import { floatsOf } from "../src/tensor.js";
import { listen } from "./listening.js";

const WASM = "ort/ort-wasm-simd-threaded.wasm";

ort.env.wasm.numThreads = 1; // more need headers of the host, and are slower
ort.env.wasm.proxy = false;
const backend = new OnnxBackend(ort);

/** @type {Bundle | undefined} */
let bundle;
/** @type {{precision: string, recognizer: Recognizer} | undefined} */
let loaded;

/** What the page may call. */
const calls = {
  /** The bundle, without its graphs. */
  async open() {
    bundle = await Bundle.open(webFolder(new URL("../bundle", import.meta.url), "bundle"));
    const { exporter, source } = bundle.manifest;
    const graphs = bundle.manifest.artifacts.flatMap((artifact) => artifact.graphs);
    const frontend = graphs.find(({ kind }) => kind === "frontend");
    const sampleRate = frontend && settingsOf(frontend, "frontend").fs; // a bias hears nothing
    return { exporter, source, sampleRate, precisions: bundle.precisions(backend.name) };
  },

  /**
   * A recogniser.
   * @param {{precision: string}} request
   */
  async load({ precision }) {
    await runtime();
    if (loaded?.precision !== precision) {
      const last = loaded;
      loaded = undefined;
      await last?.recognizer.close();
      const recognizer = await Recognizer.open(opened(), backend, { precision });
      await recognizer.decode(new Float32Array(recognizer.sampleRate), recognizer.sampleRate); // warm
      loaded = { precision, recognizer };
    }
  },

  /**
   * Hears what comes by a port, pieces of samples and null at the end.
   * @param {{port: MessagePort}} request
   */
  async listen({ port }) {
    if (!loaded) throw new Error("no recogniser is loaded");
    await listen(loaded.recognizer, port, (event) => postMessage({ event }));
  },

  /**
   * @param {{machine: string}} request
   */
  async prove({ machine }) {
    await runtime();
    return check(opened(), backend, {
      machine,
      progress: (stage) => postMessage({ event: { kind: "proving", stage } }),
    });
  },

  /** The biases of the bundle, each (L, L): what its graph adds to scores of zero. */
  async biases() {
    const graphs = Object.values(await load(opened(), backend));
    const biases = [];
    for (const graph of graphs.filter(({ contract }) => contract.kind === "bias")) {
      const inputs = graph.contract.inputs.map(zerosOf);
      const [output] = await graph.run(inputs);
      biases.push({ name: graph.contract.name, length: output.shape[1], values: floatsOf(output) });
    }
    await close(Object.fromEntries(graphs.map((graph) => [graph.contract.name, graph])));
    return biases;
  },
};

/** ONNX Runtime's code, fetched once, so that a lost connection can be told and tried again. */
async function runtime() {
  if (ort.env.wasm.wasmBinary) return;
  const code = await fetchBytes(new URL(`../${WASM}`, import.meta.url), WASM);
  if (!code) throw new BundleError(`${WASM}: missing; write the site again by deploy-bias web.`);
  ort.env.wasm.wasmBinary = code.buffer;
}

function opened() {
  if (!bundle) throw new Error("no bundle is open");
  return bundle;
}

addEventListener("message", async ({ data: { id, call, ...request } }) => {
  try {
    const result = await calls[/** @type {keyof typeof calls} */ (call)](request);
    postMessage({ id, result });
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    postMessage({ id, error: message });
  }
});
