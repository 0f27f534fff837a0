import { readFile } from "node:fs/promises";

import { expect, heard, hear, status, test } from "./visit.js";

const folder = new URL("../../../.expected/", import.meta.url);
const expected = JSON.parse(await readFile(new URL("recordings.json", folder), "utf8"));

test("each recording is heard as in Python, fast and in int8", async ({ page }) => {
  await page.goto("/");
  await expect(page.locator("#precision")).toHaveValue("int8");
  const factors = [];
  for (const [file, { utterances }] of Object.entries(expected.heard_int8)) {
    await hear(page, file.replace(".wav", ""));
    expect((await heard(page).allTextContents()).map((text) => text.trim())).toEqual(utterances);
    const speed = await page.locator("#speed").textContent();
    factors.push(Number(/real-time factor ([\d.]+)/.exec(speed ?? "")?.[1]));
  }
  console.log(`real-time factors: ${factors.join(", ")}`);
  const [, , , , median] = factors.sort((one, other) => one - other);
  expect(median).toBeLessThan(0.1);
});

test("words are shown with time and confidence, an unsure one marked", async ({ page }) => {
  await page.goto("/");
  await page.locator("#precision").selectOption("fp32");
  await hear(page, "digits_55");
  await page.getByText("Words and confidence").click();
  const rows = page.locator("#words tbody tr");
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toHaveText(/^five\s*\d\.\d\d\s*\d+ %$/);
});

test("a file at another rate is brought to the model's, and told", async ({ page }) => {
  const { sampleRate, samples } = { sampleRate: 16_000, samples: new Int16Array(16_000) };
  const data = Buffer.alloc(44 + 2 * samples.length);
  data.write("RIFF", 0);
  data.writeUInt32LE(36 + 2 * samples.length, 4);
  data.write("WAVEfmt ", 8);
  data.writeUInt32LE(16, 16);
  [1, 1].forEach((value, at) => data.writeUInt16LE(value, 20 + 2 * at));
  data.writeUInt32LE(sampleRate, 24);
  data.writeUInt32LE(2 * sampleRate, 28);
  [2, 16].forEach((value, at) => data.writeUInt16LE(value, 32 + 2 * at));
  data.write("data", 36);
  data.writeUInt32LE(2 * samples.length, 40);
  await page.goto("/");
  const file = { name: "silence.wav", mimeType: "audio/wav", buffer: data };
  await page.locator("#file").setInputFiles(file);
  await expect(status(page)).toHaveText("Heard silence.wav, brought to 8000 Hz by the browser.");
  await expect(heard(page)).toHaveCount(0);
});

test("a dropped file is heard; one that is no sound is named", async ({ page }) => {
  const wav = await readFile(new URL("recordings/digits_55.wav", folder));
  await page.goto("/");
  for (const [name, content, answer] of /** @type {const} */ ([
    ["mine.wav", wav.toString("base64"), "Heard mine.wav."],
    ["mine.txt", "AAAA", /^mine\.txt: this browser cannot read it as sound \(/],
  ])) {
    const transfer = await page.evaluateHandle(
      ([name, content]) => {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name));
        return transfer;
      },
      [name, content],
    );
    await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
    await expect(status(page)).toHaveText(answer);
  }
});

test("a microphone that is missing or refused is told, and recordings are heard", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: "Listen" }).click();
  await expect(status(page)).toHaveText(
    /^(The microphone was refused|No microphone was found)\. .* Recordings and files can be heard without it\.$/,
  );
  await hear(page, "digits_55");
});
