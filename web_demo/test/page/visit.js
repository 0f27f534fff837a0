/** A visit of the page: what must hold in each, and what several tests do. */

import { test as base, expect } from "@playwright/test";

/** @typedef {import("@playwright/test").Page} Page */

/** Each visit is without a complaint of the Content-Security-Policy and without a foreign request. */
export const test = base.extend({
  page: async ({ page }, use) => {
    /** @type {string[]} */
    const complaints = [];
    page.on("request", (request) => {
      const { hostname, protocol } = new URL(request.url());
      if (hostname !== "127.0.0.1" && protocol !== "blob:") complaints.push(request.url());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (/Content Security Policy/i.test(message.text())) complaints.push(message.text());
    });
    await use(page);
    expect(complaints).toEqual([]);
  },
});

/**
 * Hears a shipped recording.
 * @param {Page} page
 * @param {string} name
 */
export async function hear(page, name) {
  await page.getByRole("button", { name, exact: true }).click();
  await expect(page.locator("#status")).toHaveText(`Heard ${name}.wav.`);
}

/** @param {Page} page */
export const heard = (page) => page.locator("#transcript p");

/** @param {Page} page */
export const status = (page) => page.locator("#status");

export { expect };
