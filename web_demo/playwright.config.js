import { defineConfig } from "@playwright/test";

const PORT = 8471;

/** Debian's package chromium-headless-shell, or another Chromium. */
export const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium-headless-shell";
export const args = ["--no-sandbox"]; // as root there is none

export default defineConfig({
  testDir: "test/page",
  testMatch: "*.test.js",
  timeout: 60_000,
  expect: { timeout: 30_000 },
  reporter: "list",
  workers: 1,
  use: {
    baseURL: `http://127.0.0.1:${PORT}`,
    browserName: "chromium",
    launchOptions: { executablePath, args },
  },
  webServer: {
    // What `deploy-bias web` says to run.
    command: `python3 -m http.server --bind 127.0.0.1 --directory dist ${PORT}`,
    port: PORT,
    stdout: "ignore",
    stderr: "ignore",
  },
});
