/* A network of the run in LiteRT.js: load, run, time. */
import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const WARM_UP = 30; // The first calls take up to 100 ms: wasm is compiled.
const ROUNDS = 40;
const LEAST_ROUNDS = 10;
const BLOCK_MS = 8; // Browsers' clocks are as coarse as 1 ms.
const BUDGET_MS = 10000;

// The runtime reports all it does as an error.
globalThis.Module = {
  printErr: (line) =>
    /^(INFO|WARNING):/.test(line) ? console.debug(line) : console.error(line),
};

let runtime = null;

export class Network {
  static async open({ path, mean, std }, shape) {
    const bytes = new Uint8Array(await load(path));
    runtime ??= loadLiteRt("litert/wasm/");
    wipe((await explained(runtime, "LiteRT.js cannot start")).liteRtWasm);
    const model = await explained(
      loadAndCompile(bytes, { accelerator: "wasm" }),
      `LiteRT.js cannot use ${path}`,
    );
    const network = new Network(model, bytes.length, shape, mean, std);
    // The first run takes the rest of its memory, while that is zero.
    await network.predict(new Uint8Array(shape.reduce((a, b) => a * b)));
    return network;
  }

  constructor(model, bytes, shape, mean, std) {
    Object.assign(this, { model, bytes, shape, mean, std });
  }

  /** Class probabilities of one image, given as bytes, channels last. */
  async predict(pixels) {
    const input = this.#tensor(pixels);
    const [output] = await this.model.run(input);
    const probabilities = Float32Array.from(output.toTypedArray());
    output.delete();
    input.delete();
    return probabilities;
  }

  /** Milliseconds of so many runs on one image. */
  async time(pixels, runs) {
    const input = this.#tensor(pixels);
    const begin = performance.now();
    for (let i = 0; i < runs; i++) {
      for (const output of await this.model.run(input)) output.delete();
    }
    const elapsed = performance.now() - begin;
    input.delete();
    return elapsed;
  }

  #tensor(pixels) {
    const channels = this.shape[2];
    const at = (values, i) => values[values.length > 1 ? i % channels : 0];
    const values = Float32Array.from(
      pixels,
      (pixel, i) => (pixel - at(this.mean, i)) / at(this.std, i),
    );
    return new Tensor(values, [1, ...this.shape]);
  }
}

/**
 * Zeroes the free memory of the runtime. XNNPACK also computes with what lies
 * beyond the last channel. Where that happens to be denormal numbers, which
 * WebAssembly cannot flush to zero, a run takes up to thirty times as long.
 */
function wipe(wasm) {
  const blocks = [];
  for (let size = 4 << 20; size >= 64; size >>= 1) {
    for (let i = 0; i < 4; i++) {
      const block = wasm._malloc(size);
      if (!block) break;
      wasm.HEAPU8.fill(0, block, block + size);
      blocks.push(block);
    }
  }
  blocks.forEach((block) => wasm._free(block));
}

async function explained(promise, text) {
  try {
    return await promise;
  } catch (error) {
    const reason = error.message ?? "its files are missing";
    throw new Error(`${text} (${reason}).`, { cause: error });
  }
}

export async function load(path) {
  const answer = await fetch(path);
  if (!answer.ok) {
    throw new Error(`${path} cannot be loaded (HTTP ${answer.status}).`);
  }
  return answer.arrayBuffer();
}

/**
 * Median milliseconds of one run of each network. They take turns, block by
 * block, so that other work on the machine falls on all alike; a block is as
 * many runs as the clock needs.
 */
export async function latencies(networks, pixels, progress) {
  const blocks = [];
  for (const network of networks) {
    await network.time(pixels, WARM_UP);
    let runs = 1;
    while ((await fastest(network, pixels, runs)) < BLOCK_MS) runs *= 2;
    blocks.push({ network, runs, times: [] });
  }
  const begin = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    const late = performance.now() - begin > BUDGET_MS;
    if (late && round >= LEAST_ROUNDS) break;
    for (const { network, runs, times } of blocks) {
      times.push((await network.time(pixels, runs)) / runs);
    }
    await progress((round + 1) / ROUNDS);
  }
  return blocks.map(({ times, runs }) => ({
    ms: median(times),
    runs: runs * times.length,
  }));
}

/** Of three: one that other work delays must not count as slow. */
async function fastest(network, pixels, runs) {
  const times = [];
  for (let i = 0; i < 3; i++) times.push(await network.time(pixels, runs));
  return Math.min(...times);
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2
    ? sorted[half]
    : (sorted[half - 1] + sorted[half]) / 2;
}
