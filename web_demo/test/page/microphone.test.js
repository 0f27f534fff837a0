import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { args, executablePath } from "../../playwright.config.js";
import { expect, heard, status, test } from "./visit.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const recording = join(root, ".expected/recordings/digits_2934z.wav");

test.use({
  permissions: ["microphone"],
  launchOptions: {
    executablePath,
    args: [
      ...args,
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-audio-capture=${recording}%noloop`,
    ],
  },
});

/** Notes the samples on their way from the worklet to the worker. */
function note() {
  const post = Worker.prototype.postMessage;
  /** @type {number[]} */
  const samples = [];
  Object.assign(window, { samples });
  Worker.prototype.postMessage = function (message, /** @type {any} */ transfer) {
    if (message.call !== "listen") return post.call(this, message, transfer);
    const { port1, port2 } = new MessageChannel();
    const port = /** @type {MessagePort} */ (message.port);
    port.onmessage = ({ data }) => {
      if (data) samples.push(...data);
      port1.postMessage(data);
    };
    post.call(this, { ...message, port: port2 }, /** @type {any} */ ([port2]));
  };
}

test("Python says the same of the samples that came from the microphone", async ({ page }) => {
  await page.addInitScript(note);
  await page.goto("/");
  await page.locator("#precision").selectOption("fp32");
  await page.getByRole("button", { name: "Listen" }).click();
  await expect(status(page)).toHaveText("Listening. Say something.");
  // The text grows as it is spoken.
  await expect(page.locator("#partial")).toHaveText(/two nine/);
  await expect(page.locator("#level")).toBeVisible();
  await page.waitForFunction(() => /** @type {any} */ (window).samples.length > 8000 * 4);
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(status(page)).toHaveText("Stopped.");
  const words = await page.locator("#words tbody tr").evaluateAll((rows) =>
    rows.map((row) => Array.from(row.children, (cell) => cell.textContent).slice(0, 2)),
  );
  const samples = await page.evaluate(() => /** @type {any} */ (window).samples);
  const file = join(mkdtempSync(join(tmpdir(), "heard-")), "samples");
  writeFileSync(file, Float32Array.from(samples));
  const python = process.env.PYTHON ?? join(root, ".venv/bin/python");
  const answer = execFileSync(
    python,
    ["-m", "tests.expected.hear", ".expected/bundle", file],
    { cwd: root, encoding: "utf8" },
  );
  /** @type {[string, number][]} */
  const wanted = JSON.parse(answer);
  expect(words).toEqual(wanted.map(([word, at]) => [word, at.toFixed(2)]));
  await expect(heard(page).first()).toHaveText(/nine three four/);
});
