/** Accessibility, keyboard, and the pictures of the README. */

import axe from "axe-core";

import { expect, hear, test } from "./visit.js";

/** A folder for pictures: `make web SCREENSHOTS=docs` writes those of the documentation. */
const PICTURES = process.env.SCREENSHOTS;

for (const [scheme, width] of /** @type {const} */ ([
  ["light", 900],
  ["dark", 390],
])) {
  test(`axe finds nothing: ${scheme}, ${width} wide`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 900 });
    await page.goto("/");
    await hear(page, "digits_2934z");
    await page.getByText("Words and confidence").click();
    await page.getByRole("button", { name: "Prove" }).click();
    await expect(page.locator("#report")).toBeVisible();
    await page.getByText("Browser and processor").click();
    await page.evaluate(axe.source);
    const violations = await page.evaluate(async () => {
      const { violations } = await /** @type {any} */ (window).axe.run();
      return violations.map((/** @type {import("axe-core").Result} */ { id, nodes }) => [
        id,
        nodes.map(({ html }) => html),
      ]);
    });
    expect(violations).toEqual([]);
    // Nothing is wider than the window.
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
    if (PICTURES) {
      await page.getByText("Browser and processor").click();
      await page.screenshot({ path: `../${PICTURES}/browser-${scheme}.png`, fullPage: true });
    }
  });
}

test("all can be done by keyboard", async ({ page }) => {
  await page.goto("/");
  await expect(page.getByRole("button", { name: "digits_55" })).toBeVisible();
  const names = [];
  for (let count = 0; count < 15; count++) {
    await page.keyboard.press("Tab");
    names.push(await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent));
  }
  for (const name of ["listen", "file", "precision", "digits_55", "prompts_5", "prove"]) {
    expect(names).toContain(name);
  }
  await page.getByRole("button", { name: "digits_55" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.locator("#status")).toHaveText("Heard digits_55.wav.");
});
