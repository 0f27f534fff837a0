import { readFile } from "node:fs/promises";

import { expect, test } from "./visit.js";

test("every graph is proven in this browser, and the report is saved", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Prove" }).click();
  await expect(page.locator("#verdict")).toHaveText(/^Proven: every graph computes here what the original model computed, in \d+ runs\.$/);
  await expect(page.locator("#graphs tbody tr")).toHaveCount(10);
  for (const row of await page.locator("#graphs tbody tr").all()) {
    await expect(row).toHaveText(/pass$/);
  }
  await expect(page.getByRole("img", { name: /largest error .* of the budget/ })).toHaveCount(5);
  await expect(page.getByRole("img", { name: /heat map of the bias/ })).toBeVisible();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save the report" }).click();
  const report = JSON.parse(await readFile(await (await download).path(), "utf8"));
  expect(report.passed).toBe(true);
  expect(report.environment.browser).toContain("Chrome");
  expect(report.runtimes.onnx).toMatch(/^\d/);
});
