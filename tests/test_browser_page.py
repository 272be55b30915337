"""The page for the browser: its files, and the page in Chromium."""

import base64
import functools
import hashlib
import http.server
import io
import json
import pathlib
import re
import shutil
import threading

import keras
import matplotlib.image
import numpy as np
import pytest
from conftest import ROOT
from keras import layers
from PIL import Image

import tflite_export
from keras_nonconvex.datasets import pictures
from tflite_export import browser_page
from tflite_export import metadata
from tflite_export import runtime

pytestmark = pytest.mark.usefixtures("converts_here")

IMAGES = 60
PRECISIONS = ("float32", "int8")
CACHE = ROOT / ".cache"


@pytest.fixture(scope="module")
def run_folder(digits, tmp_path_factory):
    """What the page reads of a run folder; the networks are trained."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    folder.mkdir()
    recipe = {"model": "lenet5", "precisions": PRECISIONS, "fit": "crop"}
    metrics = {"dataset": "digits", "tflite": {}}
    # Filters in numbers that fill no SIMD lane.
    for name, filters in (("dense", 13), ("small", 5)):
        model = network(filters, digits)
        metrics[name] = {"params": model.count_params(), "macs": 1000 * filters}
        for precision in PRECISIONS:
            path = folder / f"{name}.{precision}.tflite"
            tflite_export.convert(model, path, precision, digits.x_train[:50])
            metadata.write(path, metadata.Metadata(labels=digits.classes))
            outputs = runtime.predict(path, digits.x_test)
            hits = outputs.argmax(-1) == digits.y_test
            metrics["tflite"][path.name] = {"accuracy": float(hits.mean())}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def network(filters, data):
    keras.utils.set_random_seed(filters)
    inputs = keras.Input(data.input_shape)
    x = layers.Conv2D(filters, 5, strides=2, activation="relu")(inputs)
    x = layers.Conv2D(filters, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(data.x_train, data.y_train, epochs=2, verbose=0)
    return model


@pytest.fixture
def litert(tmp_path):
    """A node_modules folder whose files hold their own names."""
    modules = tmp_path / "node_modules"
    for name in browser_page._LITERT_FILES.values():
        path = modules / "@litertjs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            '{"version": "1.2.3"}' if path.suffix == ".json" else name
        )
    return modules


# ---- the files


def test_the_folder(run_folder, litert, digits, tmp_path):
    index = browser_page.write(run_folder, tmp_path / "page", litert=litert)
    page = index.parent
    demo = json.loads((page / "demo.json").read_text())
    assert demo["litert"] == "1.2.3"
    assert demo["classes"] == list(digits.classes)
    assert np.bincount(demo["labels"]).tolist() == [20] * 10
    assert list(demo["files"]) == list(PRECISIONS)
    for precision, pair in demo["files"].items():
        for name, entry in pair.items():
            given = run_folder / f"{name}.{precision}.tflite"
            assert (page / entry["path"]).read_bytes() == given.read_bytes()
            assert (entry["mean"], entry["std"]) == ([0.0], [255.0])
    assert (page / "images.bin").stat().st_size == 200 * 28 * 28
    assert (page / "litert/core.js").read_text() == "core/dist/index.js"
    assert {path.name for path in tmp_path.iterdir()} == {
        "page",
        "node_modules",
    }


def test_the_images_are_those_of_the_data(digits):
    chosen = browser_page.balanced(digits.y_test, 10)
    assert sorted(digits.y_test[chosen]) == list(range(10))
    assert (np.diff(chosen) > 0).all()
    for index in chosen:
        label = digits.y_test[index]
        assert index == np.flatnonzero(digits.y_test == label)[0]
    everything = browser_page.balanced(digits.y_test, 10**6)
    assert everything.tolist() == list(range(len(digits.y_test)))
    pixels = browser_page.pixels(np.array([0, 0.5, 1, 100 / 255, 1.5]))
    assert list(pixels) == [0, 128, 255, 100, 255]


def test_nothing_comes_from_elsewhere(run_folder, litert, tmp_path):
    page = browser_page.write(
        run_folder, tmp_path / "page", litert=litert
    ).parent
    index = (page / "index.html").read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', index)
    assert policy.startswith("default-src 'none';")
    (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', index)
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest())
    assert f"'sha256-{digest.decode()}'" in policy
    for path in json.loads(imports)["imports"].values():
        assert (page / path).is_file()
    known = {"http://www.w3.org/2000/svg", "http://localhost:8000"}
    for name in ("index.html", "page.css", "page.js", "images.js", "models.js"):
        text = (page / name).read_text()
        assert set(re.findall(r"https?://[\w./:]+", text)) <= known
        linked = re.findall(r'(?:src|href|from)[= ]"([^"#]+)"', text)
        assert not [link for link in linked if link.startswith("/")]


def test_the_lock_pins_what_is_installed():
    lock = json.loads((browser_page._PAGE / "package-lock.json").read_text())
    root, *packages = lock["packages"].values()
    given = json.loads((browser_page._PAGE / "package.json").read_text())
    assert root["dependencies"] == given["dependencies"]
    assert root["dependencies"]["@litertjs/core"] == packages[0]["version"]
    assert all(p["integrity"].startswith("sha512-") for p in packages)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"images": 0}, "`images` must be a whole number >= 1"),
        ({"run": "nowhere"}, "Not a finished run folder"),
        ({"precisions": ["float16"]}, "it does for: float32, int8"),
        ({"litert": "nowhere"}, "core/package.json is missing"),
    ],
)
def test_bad_arguments(run_folder, litert, tmp_path, change, message):
    arguments = {"run": run_folder, "litert": litert, **change}
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        browser_page.write(out=tmp_path / "page", **arguments)
    assert not (tmp_path / "page").exists()


def test_files_that_cannot_be_shown(run_folder, litert, digits, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    inputs = keras.Input((28, 28, 3))
    outputs = layers.GlobalMaxPooling2D()(inputs)
    path = copy / "dense.float32.tflite"
    for model, message in (
        (network(2, digits), "no labels and normalisation"),
        (keras.Model(inputs, outputs), "the shape that the model takes, "),
    ):
        plain = tflite_export.convert(model, tmp_path / "model.tflite")
        path.write_bytes(pathlib.Path(plain.path).read_bytes())
        with pytest.raises(ValueError, match=message):
            browser_page.write(copy, tmp_path / "page", litert=litert)
    (copy / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="Not a finished run folder"):
        browser_page.write(copy, tmp_path / "page", litert=litert)
    assert not (tmp_path / "page").exists()


def test_npm_is_missing(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"npm, which is not installed: "):
        browser_page.write(run_folder, tmp_path / "page")
    assert not list(tmp_path.iterdir())


def test_npm_fails(run_folder, tmp_path, monkeypatch):
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'npm error code EINTEGRITY' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"LiteRT.js \(code EINTEGRITY\)"):
        browser_page.write(run_folder, tmp_path / "page")
    assert not list((tmp_path / "cache" / "keras-nonconvex").iterdir())


def test_only_pages_are_replaced(run_folder, litert, tmp_path, monkeypatch):
    out = tmp_path / "page"
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="this is something else"):
        browser_page.write(run_folder, out, litert=litert, force=True)
    (out / "diary.txt").unlink()
    browser_page.write(run_folder, out, litert=litert, force=True)
    with pytest.raises(ValueError, match="use --force to replace it"):
        browser_page.write(run_folder, out, litert=litert)

    # A write that fails leaves the page that was there.
    before = (out / "images.bin").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(browser_page, "pixels", disk_is_full)
        browser_page.write(
            run_folder, out, images=10, litert=litert, force=True
        )
    assert (out / "images.bin").read_bytes() == before
    browser_page.write(run_folder, out, ["int8"], 10, litert, force=True)
    assert (out / "images.bin").read_bytes() != before
    assert sorted(path.name for path in (out / "models").iterdir()) == [
        "dense.int8.tflite",
        "small.int8.tflite",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "node_modules",
        "page",
    ]


def disk_is_full(images):
    raise OSError("The disk is full.")


# ---- the page in a browser


class Visit:
    """A visitor's tab, and what went on in it."""

    def __init__(self, browser, folder, **options):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0),
            functools.partial(Handler, directory=folder.parent),
        )
        threading.Thread(target=self.server.serve_forever).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        # The page lies in a subfolder of the server.
        self.url = f"{self.address}/{folder.name}/"
        self.tab = browser.new_page(**options)
        self.errors, self.requests = [], []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self._console)
        self.tab.on("request", lambda made: self.requests.append(made.url))

    def _console(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def wait(self, state="done"):
        self.tab.wait_for_selector(
            "html:is([data-state=done], [data-state=failed])",
            state="attached",
            timeout=90_000,
        )
        status = self.tab.inner_text("#status")
        found = self.tab.get_attribute("html", "data-state")
        assert found == state, (status, self.errors)
        return status

    def results(self):
        return self.tab.evaluate("window.results")

    def close(self):
        self.tab.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed.")
    with playwright.sync_playwright() as driver:
        # Its own sandbox cannot start inside of most containers.
        launched = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page(run_folder):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed.")
    out = run_folder.with_name("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(CACHE))
        try:
            return browser_page.write(run_folder, out, images=IMAGES).parent
        except ValueError as error:
            if re.search("ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT", str(error)):
                pytest.skip(f"npm's registry is out of reach: {error}")
            raise


@pytest.fixture(scope="module")
def visit(browser, page):
    visit = Visit(browser, page)
    visit.tab.goto(visit.url)
    visit.wait()
    yield visit
    visit.close()


@pytest.fixture(scope="module")
def shown(page):
    """The images of the page as the networks take them, and the labels."""
    pixels = np.frombuffer((page / "images.bin").read_bytes(), "uint8")
    labels = json.loads((page / "demo.json").read_text())["labels"]
    images = pixels.reshape(IMAGES, 28, 28, 1).astype("float32") / 255
    return images, np.array(labels)


@pytest.mark.parametrize(
    "precision,tolerance", [("float32", 1e-5), ("int8", 1.01 / 256)]
)
def test_the_page_computes_what_python_does(
    visit, run_folder, shown, precision, tolerance
):
    images, labels = shown
    visit.tab.check(f"input[value={precision}]")
    visit.wait()
    found = visit.results()
    assert found["precision"] == precision
    answers = {}
    for name in ("dense", "small"):
        path = run_folder / f"{name}.{precision}.tflite"
        expected = runtime.predict(path, images)
        outputs = np.array(found[name]["outputs"])
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
        answers[name] = outputs.argmax(-1)
        hits = (answers[name] == labels).mean()
        assert found[name]["accuracy_here"] == pytest.approx(hits)
        assert found[name]["accuracy_here"] > 0.5
        assert found[name]["bytes"] == path.stat().st_size
        assert 0 < found[name]["ms"] < 1000
        assert found[name]["runs"] >= 10
    same = answers["dense"] == answers["small"]
    assert found["agreement"] == pytest.approx(same.mean())
    said = visit.tab.inner_text("#agreement")
    assert f"on {same.sum()} of the {IMAGES} test images" in said
    for name, label in (("dense", "dense"), ("small", "pruned")):
        kilobytes = f"{found[name]['bytes'] / 1000:.1f} KB"
        line = visit.tab.locator("#bytes .line", has_text=label)
        assert kilobytes in line.inner_text()
    stated = json.loads(visit.tab.text_content("#results"))
    assert stated["small"]["ms"] == found["small"]["ms"]

    visit.tab.check("input[value=different]")
    assert visit.tab.locator(".tile").count() == (~same).sum()
    visit.tab.check("input[value=wrong]")
    wrong = (answers["dense"] != labels) | (answers["small"] != labels)
    tiles = visit.tab.locator(".tile", has=visit.tab.locator("span.wrong"))
    assert tiles.count() == wrong.sum() == visit.tab.locator(".tile").count()
    visit.tab.check("input[value=all]")


def test_nothing_goes_wrong_and_nothing_leaves(visit):
    visit.tab.click("#again")
    visit.wait()
    assert visit.errors == []
    assert len(visit.requests) > 8
    assert all(
        url.startswith((visit.url, "data:")) for url in visit.requests
    ), visit.requests


def test_an_image_opens_by_keyboard(visit):
    tile = visit.tab.locator(".tile").nth(3)
    tile.focus()
    visit.tab.keyboard.press("Enter")
    dialog = visit.tab.locator("dialog")
    assert dialog.locator(".line").count() == 6
    found = visit.results()
    for row, name in ((0, "dense"), (3, "small")):
        best = max(found[name]["outputs"][3])
        said = dialog.locator(".line").nth(row).inner_text()
        assert f"{100 * best:.1f} %" in said
    visit.tab.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_all_images_are_shown_on_demand(visit):
    assert visit.tab.locator(".tile").count() < IMAGES
    visit.tab.click("#more")
    assert visit.tab.locator(".tile").count() == IMAGES
    assert visit.tab.locator("#more").is_hidden()


def test_own_image(visit, shown, tmp_path):
    images, _ = shown
    index = 5
    # Twice as wide: the page takes the middle. Inverted: the page swaps.
    wide = np.pad(images[index, ..., 0], [(0, 0), (14, 14)])
    matplotlib.image.imsave(
        tmp_path / "own.png", 1 - np.repeat(wide[..., None], 3, axis=2)
    )
    visit.tab.set_input_files("#drop input", tmp_path / "own.png")
    visit.tab.check("#invert")
    lines = visit.tab.locator("#own .line")
    outputs = visit.results()["dense"]["outputs"][index]
    for row, part in enumerate(sorted(outputs)[:-4:-1]):
        expected = lines.nth(row).get_by_text(f"{100 * part:.1f} %")
        expected.wait_for()
    (tmp_path / "text.png").write_text("no image")
    visit.tab.set_input_files("#drop input", tmp_path / "text.png")
    visit.tab.get_by_text("text.png is not an image").wait_for()
    visit.tab.uncheck("#invert")


@pytest.mark.parametrize("fit", pictures.FITS)
def test_own_images_get_their_size_as_those_of_the_run(visit, tmp_path, fit):
    tones = np.repeat(np.random.default_rng(0).integers(50, 255, (5, 9)), 8, 0)
    image = Image.fromarray(np.repeat(tones, 8, 1).astype("uint8"))
    file = io.BytesIO()
    image.save(file, "png")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    found = visit.tab.evaluate(
        """async ([url, fit]) => {
          const { shrink } = await import("./images.js");
          const image = new Image();
          image.src = url;
          await image.decode();
          const bitmap = await createImageBitmap(image);
          const demo = { fit, shape: [28, 24, 1] };
          return [...shrink(bitmap, demo, false)];
        }""",
        [url, fit],
    )
    found = np.reshape(found, (28, 24))
    expected = np.asarray(pictures.resized(image, (28, 24), fit), int)
    assert ((found == 0) == (expected == 0)).all()
    # Browsers shrink with filters of their own.
    assert np.abs(found - expected).mean() < 8


def test_what_lies_in_memory_does_not_count(visit):
    """Denormal numbers beyond the last channel, as freed memory may hold."""
    clean, dirty = visit.tab.evaluate(
        """async () => {
          const { Network, load } = await import("./models.js");
          const { getGlobalLiteRt } = await import("@litertjs/core");
          const wasm = getGlobalLiteRt().liteRtWasm;
          const text = new TextDecoder().decode(await load("demo.json"));
          const { files, shape } = JSON.parse(text);
          const pixels = new Uint8Array(28 * 28).fill(9);
          const fastest = async () => {
            const network = await Network.open(files.float32.dense, shape);
            const times = [];
            for (let i = 0; i < 30; i++) {
              times.push(await network.time(pixels, 20));
            }
            return Math.min(...times);
          };
          const clean = await fastest();
          const blocks = [];
          for (let size = 1 << 22; size >= 64; size >>= 1) {
            for (let i = 0; i < 4; i++) {
              const block = wasm._malloc(size);
              new Uint32Array(wasm.HEAPU8.buffer, block, size / 4).fill(1);
              blocks.push(block);
            }
          }
          blocks.forEach((block) => wasm._free(block));
          return [clean, await fastest()];
        }"""
    )
    assert dirty < 2.5 * clean


@pytest.mark.parametrize(
    "missing,said",
    [
        ("demo.json", "demo.json cannot be loaded (HTTP 404)"),
        ("models/small.float32.tflite", "cannot be loaded (HTTP 404)"),
        ("litert/wasm/*.js", "LiteRT.js cannot start"),
    ],
)
def test_a_missing_file_is_named(browser, page, missing, said):
    visit = Visit(browser, page)
    visit.tab.route(f"**/{missing}", lambda route: route.fulfill(status=404))
    visit.tab.goto(visit.url)
    assert said in visit.wait("failed")
    visit.close()


def test_a_file_is_told_to_use_a_server(browser, page):
    tab = browser.new_page()
    tab.goto((page / "index.html").as_uri())
    tab.get_by_text("must come from a web server").wait_for()
    assert tab.get_attribute("html", "data-state") == "starting"
    tab.close()


def test_it_fits_a_phone(browser, page):
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True}
    visit = Visit(browser, page, **phone)
    visit.tab.goto(visit.url)
    visit.wait()
    width = visit.tab.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    visit.close()
