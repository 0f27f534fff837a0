/**
 * Pictures of the proof, for those who would rather look than read.
 *
 * @typedef {import("../src/proof.js").ProofRow} ProofRow
 */

import { make, makeSvg } from "./dom.js";

/** Errors below it are drawn at the bottom: a thousandth of the budget. */
const DECADES = 3;

/**
 * The error of each step over its limit, on a scale of decades; the top is the limit.
 * @param {ProofRow} row
 */
export function errorPlot({ graph, series, overLimit }) {
  const steps = Math.max(series.length, 1);
  const dots = series.map(({ overLimit: over }, at) => {
    const decades = over === null ? DECADES : Math.log10(Math.max(over, 1e-9)) + DECADES;
    const height = Math.min(Math.max(decades / DECADES, 0), 1);
    return makeSvg("circle", {
      cx: (100 * (at + 0.5)) / steps,
      cy: 40 - 38 * height,
      r: steps > 40 ? 0.8 : 1.4,
    });
  });
  const worst = overLimit === null ? "not finite" : `${(100 * overLimit).toFixed(1)} %`;
  return make(
    "figure",
    {},
    picture(`${graph}: largest error ${worst} of the budget, ${series.length} steps`, "", dots),
    make("figcaption", {}, `${graph}, ${worst} at most`),
  );
}

/**
 * A bias as a heat map, and its curve over the distance of key and query.
 * @param {{name: string, length: number, values: Float32Array}} bias values (L, L): query, key.
 */
export function biasPlot({ name, length, values }) {
  const last = (length - 1) * length;
  // By offset, key minus query, from the farthest past to the farthest future.
  const curve = [
    ...values.subarray(last, last + length),
    ...values.subarray(1, length),
  ];
  const [low, high] = [Math.min(...curve), Math.max(...curve)];
  const spread = high - low || 1;
  const points = curve.map((value, at) => {
    const x = (100 * at) / (curve.length - 1);
    return `${x.toFixed(2)},${(38 - (36 * (value - low)) / spread).toFixed(2)}`;
  });
  const range = `${low.toPrecision(3)} to ${high.toPrecision(3)}`;
  const line = makeSvg("polyline", { points: points.join(" ") });
  return [
    make("h3", {}, name === "bias" ? "Bias" : name),
    make(
      "div",
      { class: "plots" },
      make(
        "figure",
        {},
        heatMap(length, values, low, spread),
        make("figcaption", {}, `each query (down) and key (across), ${range}`),
      ),
      make(
        "figure",
        {},
        picture(`the bias by key minus query, ${range}`, "curve", [line]),
        make("figcaption", {}, `by key minus query, ${1 - length} to ${length - 1}`),
      ),
    ),
  ];
}

/**
 * @param {number} length
 * @param {Float32Array} values
 * @param {number} low
 * @param {number} spread
 */
function heatMap(length, values, low, spread) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = length;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `heat map of the bias, ${length} by ${length}`);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(length, length);
  for (let at = 0; at < length * length; at++) {
    const part = (values[at] - low) / spread;
    image.data.set([40 + 200 * part, 70 + 130 * part, 130 - 30 * part, 255], 4 * at);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * @param {string} label
 * @param {string} kind
 * @param {Node[]} content
 */
const picture = (label, kind, content) =>
  makeSvg(
    "svg",
    { role: "img", "aria-label": label, class: kind, viewBox: "0 0 100 40", preserveAspectRatio: "none" },
    ...content,
  );
