/** The page: listens, hears recordings, proves. */

import { Client } from "./client.js";
import { element, make, say } from "./dom.js";
import { decodeAudio, Microphone } from "./microphone.js";
import { environment, saveReport, showReport } from "./report.js";
import { readWav } from "../src/wav.js";
import { Transcript } from "./transcript.js";

/** Samples that are handed over at once. */
const PIECE = 4096;
/** Seconds of sound that may wait before the page says so. */
const BEHIND = 2;

const status = element("status");
const verdict = element("verdict");
const listenButton = /** @type {HTMLButtonElement} */ (element("listen"));
const proveButton = /** @type {HTMLButtonElement} */ (element("prove"));
const saveButton = element("save");
const precision = /** @type {HTMLSelectElement} */ (element("precision"));
const level = /** @type {HTMLMeterElement} */ (element("level"));
const player = /** @type {HTMLAudioElement} */ (element("player"));
const transcript = new Transcript();

const client = new Client((event) => {
  if (event.kind === "level") level.value = Math.min(1, 4 * event.level);
  else if (event.kind === "proving") say(verdict, `Proving ${event.stage} …`);
  else {
    transcript.show(event);
    const behind = event.waiting > BEHIND ? `; ${event.waiting.toFixed(0)} s behind` : "";
    element("speed").textContent =
      `${event.seconds.toFixed(1)} s heard, real-time factor ` +
      `${event.realTimeFactor.toFixed(3)}${behind}`;
  }
});

/** @type {Microphone | null} */
let microphone = null;
let busy = false;

/**
 * Does one thing at a time; an error is told in a line of the page.
 * @param {HTMLElement} line
 * @param {() => Promise<void>} work
 */
async function alone(line, work) {
  if (busy) return;
  busy = true;
  lock(true);
  try {
    await work();
  } catch (error) {
    say(line, /** @type {Error} */ (error).message, "error");
  } finally {
    busy = false;
    lock(false);
  }
}

/** @param {boolean} locked */
function lock(locked) {
  const controls = document.querySelectorAll("#recordings button, #prove, #precision, #file");
  for (const control of controls) /** @type {HTMLButtonElement} */ (control).disabled = locked;
  listenButton.disabled = locked && !microphone;
}

/** Opens the bundle, once; a failure is tried again with the next click. */
let opening = open();
function open() {
  const opening = client.call("open");
  opening.then(showBundle, (error) => say(status, error.message, "error"));
  return opening;
}

async function opened() {
  try {
    return await opening;
  } catch {
    opening = open();
    return opening;
  }
}

/** @param {{exporter: Record<string, string>, precisions: string[]}} bundle */
function showBundle({ exporter, precisions }) {
  precision.replaceChildren(
    ...precisions.map((name) => make("option", {}, name)),
  );
  // The smallest download first.
  precision.value = precisions.includes("int8") ? "int8" : precisions[0];
  element("versions").textContent = Object.entries(exporter)
    .map((pair) => pair.join(" "))
    .join(", ");
}

/** Loads the graphs; returns the model's rate. */
async function loaded() {
  const { sampleRate } = await opened();
  await client.call("load", { precision: precision.value });
  return sampleRate;
}

/**
 * Lets the worker hear what a port is posted.
 * @param {MessagePort} port
 */
function begin(port) {
  transcript.begin();
  element("speed").textContent = "";
  element("gauge").hidden = false;
  return client.call("listen", { port }, [port]);
}

async function listen() {
  say(status, "Asking for the microphone and loading the model …");
  const { sampleRate } = await opened();
  const { port1, port2 } = new MessageChannel();
  // What is said while the model loads waits in the channel.
  const [asked, ready] = await Promise.allSettled([
    Microphone.open(sampleRate, port1, (message) => say(status, message)).then((opened) => {
      say(status, "Listening. The model is loading; nothing is lost.");
      return opened;
    }),
    loaded(),
  ]);
  if (asked.status === "rejected") throw asked.reason;
  if (ready.status === "rejected") {
    await asked.value.close();
    throw ready.reason;
  }
  microphone = asked.value;
  microphone.onended = () => stop("The microphone is gone. What was said is kept.");
  listenButton.textContent = "Stop";
  listenButton.disabled = false;
  say(status, "Listening. Say something.");
  try {
    await begin(port2);
  } finally {
    await stop("Stopped.");
    level.value = 0;
  }
}

/**
 * Ends the microphone; what it still has is decoded.
 * @param {string} message
 */
async function stop(message) {
  const last = microphone;
  microphone = null;
  listenButton.textContent = "Listen";
  if (!last) return;
  await last.close();
  say(status, message);
}

/**
 * Hears a recording.
 * @param {string} name
 * @param {() => Promise<ArrayBuffer>} read
 */
async function hear(name, read) {
  say(status, "Loading the model …");
  const [sampleRate, data] = await Promise.all([loaded(), read()]);
  say(status, `Hearing ${name} …`);
  const { samples, remark } = await samplesOf(name, data, sampleRate);
  const { port1, port2 } = new MessageChannel();
  const done = begin(port2);
  for (let at = 0; at < samples.length; at += PIECE) port1.postMessage(samples.slice(at, at + PIECE));
  port1.postMessage(null);
  await done;
  level.value = 0;
  say(status, `Heard ${name}${remark}.`);
}

/**
 * The samples of a sound file at the model's rate. A plain WAV at that rate is read to the last bit.
 * @param {string} name
 * @param {ArrayBuffer} data
 * @param {number} sampleRate
 */
async function samplesOf(name, data, sampleRate) {
  try {
    const wav = readWav(new Uint8Array(data), name);
    if (wav.sampleRate === sampleRate) return { samples: wav.samples, remark: "" };
  } catch {
    // The browser may know the kind of file.
  }
  try {
    const samples = await decodeAudio(data, sampleRate);
    return { samples, remark: `, brought to ${sampleRate} Hz by the browser` };
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    throw new Error(`${name}: this browser cannot read it as sound (${message}).`);
  }
}

/** @param {File | undefined} file */
function hearFile(file) {
  if (file) alone(status, () => hear(file.name, () => file.arrayBuffer()));
}

/** @param {string} name */
function hearShipped(name) {
  player.src = `recordings/${name}`;
  player.hidden = false;
  return hear(name, async () => {
    const response = await fetch(player.src);
    if (!response.ok) throw new Error(`recordings/${name}: missing; write the site again.`);
    return response.arrayBuffer();
  });
}

async function prove() {
  element("report").hidden = true;
  saveButton.hidden = true;
  say(verdict, "Loading the graphs …");
  await opened();
  const report = await client.call("prove", { machine: environment().browser });
  showReport(report, await client.call("biases"));
  saveButton.hidden = false;
  saveButton.onclick = () => saveReport(report);
}

listenButton.onclick = () => (microphone ? stop("Stopped.") : alone(status, listen));
proveButton.onclick = () => alone(verdict, prove);
element("file").onchange = ({ target }) => {
  const input = /** @type {HTMLInputElement} */ (target);
  hearFile(input.files?.[0]);
  input.value = "";
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  hearFile(event.dataTransfer?.files[0]);
});
document.addEventListener("visibilitychange", () => {
  if (microphone && !document.hidden) {
    say(status, "Listening. It went on while this tab was in the background.");
  }
});

const site = await fetch("site.json").then((response) => response.json(), () => ({}));
element("model").textContent = `Model: ${site.name ?? "unknown"}`;
for (const name of site.recordings ?? []) {
  const button = make("button", {}, name.replace(/[.]wav$/, ""));
  button.setAttribute("type", "button");
  button.onclick = () => alone(status, () => hearShipped(name));
  element("recordings").append(button);
}
element("shipped").hidden = !site.recordings?.length;
