/* Images and what the networks take them for. */

export const NETWORKS = { dense: "dense", small: "pruned" };
const FIRST = 24; // Tiles that are shown at once.
// What happens to an image before it has the size of the networks' input.
const FITS = {
  stretch: "It is stretched to",
  crop: "Its middle is cut out and shrunk to",
  pad: "It is shrunk, with black on both sides, to",
};

/** An element with a class and children; strings become text. */
export function element(tag, name, ...children) {
  const made = document.createElement(tag);
  made.className = name;
  made.append(...children);
  return made;
}

/** One line: a name, a bar that is filled by a part of 1, a text. */
export function bar(name, part, text, kind) {
  const fill = element("i", kind);
  fill.style.width = `${100 * Math.min(part, 1)}%`;
  return element(
    "div",
    "line",
    element("span", "name", name),
    element("span", "bar", fill),
    element("span", "value", text),
  );
}

export function percent(part, digits = 1) {
  return `${(100 * part).toFixed(digits)} %`;
}

/** Index of the largest value. */
export function top(values) {
  return values.indexOf(Math.max(...values));
}

/** Draws bytes, row by row, channels last. */
export function draw(canvas, pixels, [height, width, channels]) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = pixels[i * channels + (channels > 1 ? c : 0)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The three likeliest classes of each network, as bars. */
export function answers(outputs, classes) {
  return Object.entries(NETWORKS).map(([key, name]) => {
    const likeliest = [...outputs[key].keys()]
      .sort((a, b) => outputs[key][b] - outputs[key][a])
      .slice(0, 3);
    return element(
      "div",
      "bars",
      element("h3", "", name),
      ...likeliest.map((index) => {
        const part = outputs[key][index];
        return bar(classes[index], part, percent(part), key);
      }),
    );
  });
}

/** The tiles, by filter. `show(results)` draws them anew. */
export function gallery(demo, images) {
  const grid = document.querySelector("#grid");
  const more = document.querySelector("#more");
  const filters = document.querySelector("#filters");
  let results = null;
  let whole = false;

  const passes = {
    all: () => true,
    wrong: (label, answer) => answer.some((index) => index !== label),
    different: (_, answer) => answer[0] !== answer[1],
  };

  function tile(index) {
    const canvas = element("canvas", "");
    canvas.setAttribute("aria-hidden", "true");
    draw(canvas, images[index], demo.shape);
    const label = demo.labels[index];
    const lines = Object.entries(NETWORKS).map(([key, name]) => {
      const answer = top(results[key].outputs[index]);
      const verdict = answer === label ? "right" : "wrong";
      return element(
        "span",
        "line",
        element("span", "name", `${name} `),
        element("span", verdict, demo.classes[answer]),
      );
    });
    const truth = element("b", "", demo.classes[label]);
    const made = element(
      "button",
      "tile",
      canvas,
      element("span", "text", truth, ...lines),
    );
    made.type = "button";
    made.addEventListener("click", () => enlarge(index));
    return made;
  }

  function enlarge(index) {
    const dialog = document.querySelector("dialog");
    draw(dialog.querySelector("canvas"), images[index], demo.shape);
    const name = demo.classes[demo.labels[index]];
    dialog.querySelector("h2").textContent = `It is: ${name}`;
    const { dense, small } = results;
    dialog
      .querySelector(".answers")
      .replaceChildren(
        ...answers(
          { dense: dense.outputs[index], small: small.outputs[index] },
          demo.classes,
        ),
      );
    dialog.showModal();
  }

  function render() {
    const pass = passes[filters.querySelector(":checked").value];
    const shown = [...images.keys()].filter((index) =>
      pass(
        demo.labels[index],
        Object.keys(NETWORKS).map((key) => top(results[key].outputs[index])),
      ),
    );
    const some = whole ? shown : shown.slice(0, FIRST);
    grid.replaceChildren(...some.map(tile));
    more.hidden = some.length === shown.length;
    more.textContent = `Show all ${shown.length}`;
    document.querySelector("#none").hidden = shown.length > 0;
  }

  filters.addEventListener("change", () => {
    whole = false;
    if (results) render();
  });
  more.addEventListener("click", () => {
    whole = true;
    render();
    grid.children[FIRST].focus();
  });
  return (found) => {
    results = found;
    render();
  };
}

/** Classifies the visitor's image with `predict(pixels)`. */
export function ownImage(demo, predict) {
  const [height, width, channels] = demo.shape;
  const own = document.querySelector("#own");
  const canvas = own.querySelector("canvas");
  const said = own.querySelector(".answers");
  const input = own.querySelector("input");
  const drop = document.querySelector("#drop");
  const invert = document.querySelector("#invert");
  let file = null;

  const known = demo.classes.slice(0, 20).join(", ");
  const others = demo.classes.length > 20 ? ", …" : "";
  document.querySelector("#own-help").textContent =
    `${FITS[demo.fit]} ${width} × ${height} ${channels > 1 ? "" : "grey "}pixels. ` +
    `The networks take anything for one of: ${known}${others}.`;

  async function classify() {
    if (!file) return;
    try {
      const bitmap = await createImageBitmap(file);
      const pixels = shrink(bitmap, demo, invert.checked);
      draw(canvas, pixels, demo.shape);
      canvas.hidden = false;
      said.replaceChildren(...answers(await predict(pixels), demo.classes));
    } catch (error) {
      canvas.hidden = true;
      said.replaceChildren(
        error.name === "InvalidStateError"
          ? `${file.name} is not an image that this browser can read.`
          : `This image cannot be classified: ${error.message}`,
      );
    }
  }

  function choose(files) {
    if (!files.length) return;
    [file] = files;
    classify();
  }

  input.addEventListener("change", () => choose(input.files));
  invert.addEventListener("change", classify);
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    choose(event.dataTransfer.files);
  });
}

/** The parts of an image and of the input that are laid over each other. */
function places(fit, [width, height], [columns, rows]) {
  const centred = ([w, h], [wide, high]) => [
    Math.floor((wide - w) / 2),
    Math.floor((high - h) / 2),
    w,
    h,
  ];
  const whole = [0, 0, width, height];
  const input = [0, 0, columns, rows];
  if (fit === "crop") {
    const w = Math.min(width, Math.floor((height * columns) / rows)) || 1;
    const h = Math.min(height, Math.floor((width * rows) / columns)) || 1;
    return [centred([w, h], [width, height]), input];
  }
  if (fit === "pad") {
    const scale = Math.min(columns / width, rows / height);
    const sides = [width, height].map((n) => Math.max(1, rint(scale * n)));
    return [whole, centred(sides, [columns, rows])];
  }
  return [whole, input];
}

/** The nearest whole number, of two the even one, as Python rounds. */
function rint(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

/** A bitmap as bytes of the networks' input. What is added stays black. */
export function shrink(bitmap, demo, inverted) {
  const [height, width, channels] = demo.shape;
  const [from, to] = places(
    demo.fit,
    [bitmap.width, bitmap.height],
    [width, height],
  );
  const [left, top, w, h] = to;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // Behind what is transparent.
  context.fillRect(...to);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, ...from, ...to);
  const { data } = context.getImageData(...to);
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0; i < w * h; i++) {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    const values =
      channels > 1 ? [r, g, b] : [Math.round(0.299 * r + 0.587 * g + 0.114 * b)];
    const at = (top + Math.floor(i / w)) * width + left + (i % w);
    values.forEach((value, c) => {
      pixels[at * channels + c] = inverted ? 255 - value : value;
    });
  }
  return pixels;
}
