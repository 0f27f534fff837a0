import { readFile } from "node:fs/promises";

import { expect, test } from "./visit.js";

test("every graph is proven in this browser, and the report is saved", async ({ page }) => {
  await page.goto("/");
  await page.locator("#precision").selectOption("fp32");
  await page.getByRole("button", { name: "Prove" }).click();
  await expect(page.locator("#verdict")).toHaveText(/^Proven: every graph .*, fp32\.$/);
  await expect(page.locator("#graphs tbody tr")).toHaveCount(5);
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
  expect(report.runtime).toMatch(/^onnx \d/);
});
