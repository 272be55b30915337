/* What the page measures and says. */
import {
  NETWORKS,
  bar,
  element,
  gallery,
  ownImage,
  percent,
  top,
} from "./images.js";

const KEYS = Object.keys(NETWORKS);
const $ = (selector) => document.querySelector(selector);

let models; // The module: it cannot load where LiteRT.js is missing.
let demo;
let images;
let showImages;
let networks;
let precision;
const opened = {}; // By precision.

// The networks do one thing at a time; a new measurement ends the one before.
let queue = Promise.resolve();
let running = new AbortController();

function enqueue(task) {
  const done = queue.then(task);
  queue = done.catch(() => {});
  return done;
}

function start(task) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  state("running");
  enqueue(() => task(signal)).catch((error) => {
    if (signal.aborted) return;
    say(`This does not work here: ${error.message ?? error}`, 0);
    state("failed");
  });
}

const count = (number) => number.toLocaleString("en");

function state(name) {
  document.documentElement.dataset.state = name;
}

function say(text, part) {
  const line = $("#status p");
  // A screen reader reads what changes.
  if (line.textContent !== text) line.textContent = text;
  $("#status progress").value = part;
}

/** Lets the browser draw, and ends what another measurement replaces. */
async function pause(signal) {
  await new Promise((resolve) => setTimeout(resolve));
  signal.throwIfAborted();
}

async function open(signal) {
  if (!("WebAssembly" in window)) {
    throw new Error("the browser has no WebAssembly.");
  }
  models = await import("./models.js");
  demo = JSON.parse(new TextDecoder().decode(await models.load("demo.json")));
  const bytes = new Uint8Array(await models.load("images.bin"));
  const size = demo.shape.reduce((a, b) => a * b);
  images = demo.labels.map((_, i) => bytes.subarray(i * size, (i + 1) * size));
  introduce();
  await measure(signal);
}

function introduce() {
  const title = `${demo.model} on ${demo.dataset}`;
  document.title = `${title}: dense against pruned`;
  $("h1").textContent = title;
  $("footer").textContent =
    `Written by keras-nonconvex ${demo.version}. LiteRT.js ${demo.litert} ` +
    "runs the files with WebAssembly on one thread.";
  const { dense, small } = demo.networks;
  const left = "of the dense network's are left";
  compare("params", left, dense.params, small.params, count);
  compare("macs", left, dense.macs, small.macs, count);
  const choices = Object.keys(demo.files).map((name, index) => {
    const input = element("input", "");
    Object.assign(input, { type: "radio", name: "precision", value: name });
    input.checked = index === 0;
    return element("label", "", input, name);
  });
  $("#precisions").append(...choices);
  $("#precisions").hidden = choices.length < 2;
  [precision] = Object.keys(demo.files);
  $("#precisions").addEventListener("change", (event) => {
    precision = event.target.value;
    start(measure);
  });
  $("#again").hidden = false;
  $("#again").addEventListener("click", () => start(measure));
  showImages = gallery(demo, images);
  ownImage(demo, (pixels) =>
    enqueue(async () => {
      const [dense, small] = networks;
      return {
        dense: await dense.predict(pixels),
        small: await small.predict(pixels),
      };
    }),
  );
}

/** Loads the files of the chosen precision, runs them and times them. */
async function measure(signal) {
  const files = demo.files[precision];
  say(`Loading the ${precision} files …`, 0);
  networks = opened[precision] ??= [
    await models.Network.open(files.dense, demo.shape),
    await models.Network.open(files.small, demo.shape),
  ];
  const found = { precision, images: images.length };
  KEYS.forEach((key, i) => {
    const { bytes } = networks[i];
    const { accuracy } = files[key];
    found[key] = { bytes, ...demo.networks[key], accuracy, outputs: [] };
  });
  const half = 0.5 / images.length;
  for (const [i, image] of images.entries()) {
    for (const [j, key] of KEYS.entries()) {
      found[key].outputs.push(await networks[j].predict(image));
    }
    if (i % 10 === 0) {
      say(`Running both on ${images.length} images …`, i * half);
      await pause(signal);
    }
  }
  judge(found);
  await pause(signal);
  const timed = await models.latencies(networks, images[0], async (part) => {
    say("Measuring how fast they are …", 0.5 + 0.5 * part);
    await pause(signal);
  });
  KEYS.forEach((key, i) => Object.assign(found[key], timed[i]));
  publish(found);
  say(`${images.length} images, ${precision}: done.`, 1);
  state("done");
}

/** Who is right, by image; shows what does not need a clock. */
function judge(found) {
  const { dense, small } = found;
  const hits = { both: 0, dense: 0, small: 0, none: 0 };
  let same = 0;
  demo.labels.forEach((label, i) => {
    const [first, second] = [top(dense.outputs[i]), top(small.outputs[i])];
    same += first === second;
    if (first === label) hits[second === label ? "both" : "dense"] += 1;
    else hits[second === label ? "small" : "none"] += 1;
  });
  found.agreement = same / images.length;
  dense.accuracy_here = (hits.both + hits.dense) / images.length;
  small.accuracy_here = (hits.both + hits.small) / images.length;

  const size = (bytes) => `${count(Math.round(bytes / 100) / 10)} KB`;
  compare("bytes", "of the dense file", dense.bytes, small.bytes, size);
  card(
    "agreement",
    percent(found.agreement),
    `on ${same} of the ${images.length} test images below`,
    bar("both right", hits.both / images.length, `${hits.both}`, "small"),
    bar("only dense", hits.dense / images.length, `${hits.dense}`, "dense"),
    bar("only pruned", hits.small / images.length, `${hits.small}`, "small"),
    bar("both wrong", hits.none / images.length, `${hits.none}`, "wrong"),
  );
  const gain = 100 * (small.accuracy - dense.accuracy);
  card(
    "accuracy",
    percent(small.accuracy, 2),
    `on all test images, ${gain < 0 ? "−" : "+"}` +
      `${Math.abs(gain).toFixed(2)} points`,
    ...KEYS.map((key) => {
      const { accuracy } = found[key];
      return bar(NETWORKS[key], accuracy, percent(accuracy, 2), key);
    }),
    element(
      "p",
      "note",
      `On those below: ${percent(dense.accuracy_here)} and ` +
        percent(small.accuracy_here),
    ),
  );
  showImages(found);
}

/** Shows the times, and everything as JSON; `window.results` has it all. */
function publish(found) {
  const { dense, small } = found;
  const time = (ms) => `${ms.toPrecision(3)} ms`;
  card(
    "latency",
    `${(dense.ms / small.ms).toFixed(2)}×`,
    "as fast as dense, one image at a time",
    bar("dense", dense.ms / Math.max(dense.ms, small.ms), time(dense.ms), "dense"),
    bar("pruned", small.ms / Math.max(dense.ms, small.ms), time(small.ms), "small"),
    element(
      "p",
      "note",
      `Medians of ${count(dense.runs)} and ${count(small.runs)} runs, in turn`,
    ),
  );
  window.results = found;
  $("#results").textContent = JSON.stringify(
    found,
    (key, value) => (key === "outputs" ? undefined : value),
    1,
  );
}

function card(id, big, what, ...lines) {
  const made = $(`#${id}`);
  made.querySelector(".big").textContent = big;
  made.querySelector(".what").textContent = what;
  made.querySelector(".bars").replaceChildren(...lines);
}

/** A card with what is left of a cost, and both as bars. */
function compare(id, what, dense, small, format) {
  const most = Math.max(dense, small);
  card(
    id,
    percent(small / dense),
    what,
    bar("dense", dense / most, format(dense), "dense"),
    bar("pruned", small / most, format(small), "small"),
  );
}

start(open);
