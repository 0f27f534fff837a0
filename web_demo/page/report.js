/**
 * The report of a proof: table, pictures, environment.
 *
 * @typedef {import("../src/proof.js").ProofReport} ProofReport
 */

import { element, make, row, say } from "./dom.js";
import { biasPlot, errorPlot } from "./plots.js";

/** What this browser and machine are. */
export function environment() {
  const { userAgent, hardwareConcurrency } = navigator;
  return {
    browser: userAgent,
    processors: hardwareConcurrency,
    isolated: crossOriginIsolated,
    webgpu: "gpu" in navigator,
  };
}

/**
 * @param {ProofReport} report
 * @param {{name: string, length: number, values: Float32Array}[]} biases
 */
export function showReport(report, biases) {
  const failed = report.rows.filter((row) => !row.passed);
  const table = /** @type {HTMLTableElement} */ (element("graphs")).tBodies[0];
  table.replaceChildren(
    ...report.rows.map((entry) =>
      row([
        [entry.graph, ""],
        [entry.precision, ""],
        [String(entry.steps), "number"],
        [entry.maxAbsError === null ? "not finite" : entry.maxAbsError.toExponential(1), "number"],
        [entry.overLimit === null ? "-" : `${(100 * entry.overLimit).toFixed(1)} %`, "number"],
        [entry.compared ? percent(entry.agreed / entry.compared) : "-", "number"],
        [entry.medianMs.toFixed(2), "number"],
        [entry.passed ? "pass" : `FAIL: ${entry.problem}`, entry.passed ? "passed" : "failed"],
      ]),
    ),
  );
  const stepped = report.rows.filter((row) => row.precision === "fp32");
  element("errors").replaceChildren(...stepped.map(errorPlot));
  element("biases").replaceChildren(...biases.flatMap(biasPlot));
  element("environment").replaceChildren(
    ...Object.entries({
      ...environment(),
      runtime: pairs(report.runtimes),
      exporter: pairs(report.exporter),
      weights: report.weightsSha256,
    }).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]),
  );
  element("report").hidden = false;
  const names = failed.map((row) => `${row.graph}, ${row.precision}`).join("; ");
  if (report.passed) {
    const count = report.rows.reduce((sum, row) => sum + row.steps, 0);
    say(
      element("verdict"),
      `Proven: every graph computes here what the original model computed, in ${count} runs.`,
      "passed",
    );
  } else {
    say(element("verdict"), `Not proven in this browser: ${names || "no graph"}.`, "failed");
  }
}

/** @param {Record<string, string>} values */
const pairs = (values) =>
  Object.entries(values)
    .map((pair) => pair.join(" "))
    .join(", ");

/**
 * Cut and not rounded: 100 % means all.
 * @param {number} part
 */
const percent = (part) => `${(Math.floor(part * 1e4) / 100).toFixed(2)} %`;

/**
 * Saves a report as JSON.
 * @param {ProofReport} report
 */
export function saveReport(report) {
  const content = JSON.stringify({ ...report, environment: environment() }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = "proof.json";
  link.click();
  URL.revokeObjectURL(link.href);
}
