"""A static page that runs dense and pruned in the visitor's browser."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import run_folder
from keras_nonconvex.version import __version__
from tflite_export import metadata
from tflite_export import runtime

_PAGE = pathlib.Path(__file__).with_name("browser")
_PAGE_FILES = ("index.html", "page.css", "page.js", "images.js", "models.js")

# What the page needs of the npm packages. The compat build is for browsers
# without relaxed SIMD; a visitor loads one of the two.
_LITERT_FILES = {
    "core.js": "core/dist/index.js",
    "package.json": "core/package.json",
    "wasm-utils.js": "wasm-utils/dist/index.js",
    **{
        f"wasm/{name}": f"core/wasm/{name}"
        for name in (
            "litert_wasm_internal.js",
            "litert_wasm_internal.wasm",
            "litert_wasm_compat_internal.js",
            "litert_wasm_compat_internal.wasm",
        )
    },
}


def write(
    run,
    out,
    precisions=None,
    images=200,
    litert=None,
    network=None,
    force=False,
):
    """Writes a folder for any static web server: dense beside pruned.

    The page runs both networks of a run with LiteRT.js on test images and
    shows size, speed and agreement. It loads nothing from other servers.

    Args:
        run: str or path. A run folder of `compress`.
        out: str or path. The folder to write, whole or not at all.
        precisions: list of str. The precisions among which the visitor
            chooses. Defaults to `None`: all that the run has for both
            networks.
        images: int >= 1. How many test images the page has, as many of each
            class as possible. Defaults to `200`.
        litert: str or path. A `node_modules` folder with @litertjs/core.
            Defaults to `None`: npm fetches the pinned version into the user's
            cache, once.
        network: str. Which of the run's small networks stands beside the
            dense one. Defaults to `None`: the one that the run has chosen.
        force: bool. Whether to replace a page that exists. Defaults to
            `False`.

    Returns:
        The path of its index.html.
    """
    out = pathlib.Path(out)
    checks.whole("images", images, 1)
    loaded = run_folder.load(run, network)
    loaded.check_classifier()
    metrics, pairs = loaded.metrics, _pairs(loaded, precisions)
    first = next(iter(pairs.values()))["dense"]
    (source,) = runtime.interpreter(first).get_input_details()
    shape = tuple(map(int, source["shape"][1:]))
    data = _data(loaded, shape)
    classes, entries = _describe(pairs, metrics, shape)
    x, y = data.test.arrays()
    chosen = balanced(y, images)
    modules = pathlib.Path(litert) if litert else _from_npm()
    package = _litert_file(modules, "core/package.json").read_text()
    description = {
        "page": "keras-nonconvex",
        "version": __version__,
        "litert": json.loads(package)["version"],
        "model": pathlib.PurePath(loaded.recipe["model"]).stem,
        # Where a folder is concerns nobody who sees the page.
        "dataset": pathlib.PurePath(data.name).name,
        "classes": classes,
        "shape": list(shape),
        "fit": loaded.fit,
        "labels": y[chosen].tolist(),
        "networks": {
            name: {key: metrics[stem][key] for key in ("params", "macs")}
            for name, stem in (("dense", "dense"), ("small", loaded.network))
        },
        "files": entries,
    }
    with files.new_folder(out, "demo.json", force) as folder:
        folder.mkdir()
        for name in _PAGE_FILES:
            _copy(_PAGE / name, folder / name)
        for name, source in _LITERT_FILES.items():
            _copy(_litert_file(modules, source), folder / "litert" / name)
        for path in (path for pair in pairs.values() for path in pair.values()):
            _copy(path, folder / "models" / path.name)
        (folder / "images.bin").write_bytes(pixels(x[chosen]))
        (folder / "demo.json").write_text(json.dumps(description, indent=1))
    return out / "index.html"


def balanced(labels, count):
    """Sorted indices of `count` items, the first ones of each class."""
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], labels[order])
    # The rank of each item within its class.
    rank = np.arange(len(labels)) - first
    return np.sort(order[np.argsort(rank, kind="stable")][:count])


def pixels(images):
    """Images in [0, 1] as bytes, row by row, channels last."""
    return np.rint(np.clip(images, 0, 1) * 255).astype("uint8").tobytes()


def _pairs(run, precisions):
    """The files of those precisions that the page offers."""
    wanted = list(run.pairs) if precisions is None else list(precisions)
    if not wanted or not set(wanted) <= set(run.pairs):
        raise ValueError(
            f"The run must hold dense.PRECISION.tflite and {run.network}."
            "PRECISION.tflite for each precision; it does for: "
            f"{', '.join(run.pairs)}. "
            f"Received: precisions={precisions!r}"
        )
    return {name: run.pairs[name] for name in wanted}


def _data(run, shape):
    """The data of a run, in its own splits."""
    lists = run_folder.Paths(run.folder).splits
    keys = sorted({"antialias", "seed"} & run.recipe.keys())
    return datasets.splits(
        run.metrics["dataset"],
        shape=shape,
        fit=run.fit,
        lists=lists if lists.exists() else None,
        **{key: run.recipe[key] for key in keys},
    )


def _describe(pairs, metrics, shape):
    """Class names, and what the page says and needs to know per file."""
    entries = {}
    for precision, pair in pairs.items():
        for name, path in pair.items():
            source, _ = runtime.ends(runtime.interpreter(path), path)
            if (
                tuple(source["shape"]) != (1, *shape)
                or source["dtype"] != np.float32
            ):
                raise ValueError(
                    f"The page runs files with float32 input (1, "
                    f"{', '.join(map(str, shape))}). Received: {str(path)!r}"
                )
            described = metadata.read(path)
            if described is None:
                raise ValueError(
                    "The file carries no labels and normalisation; run "
                    f"`compress` again. Received: {str(path)!r}"
                )
            if len(described.labels) < 2:
                raise ValueError(
                    "The page shows classifiers with one output per class. "
                    f"Received: {str(path)!r} with {described.labels}"
                )
            entries.setdefault(precision, {})[name] = {
                "path": f"models/{path.name}",
                "mean": list(described.mean),
                "std": list(described.std),
                "accuracy": metrics["tflite"][path.name]["accuracy"],
            }
    return list(described.labels), entries


def _from_npm():
    """The cached `node_modules` with LiteRT.js, installed if need be."""
    pinned = json.loads((_PAGE / "package.json").read_text())["dependencies"]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    cache = cache.expanduser() / "keras-nonconvex"
    folder = cache / f"litert-{pinned['@litertjs/core']}"
    if folder.is_dir():
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(
            "LiteRT.js comes from npm, which is not installed: install "
            "Node.js, or name a node_modules folder that holds "
            "@litertjs/core. Received: litert=None"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = pathlib.Path(temporary) / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            _copy(_PAGE / name, made / name)
        # `ci` takes what the lock file pins, and checks its hashes.
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=made,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reasons = [
                line.removeprefix("npm error ")
                for line in done.stderr.splitlines()
                if line.startswith("npm error ")
            ]
            raise ValueError(
                "npm cannot install LiteRT.js "
                f"({'; '.join(reasons[:2]) or 'no reason given'}). "
                "Received: litert=None"
            )
        # Another process may have been first.
        with contextlib.suppress(OSError):
            made.rename(folder)
    return folder / "node_modules"


def _litert_file(modules, name):
    path = modules / "@litertjs" / name
    if not path.is_file():
        raise ValueError(
            "Argument `litert` must be a node_modules folder with "
            f"@litertjs/core and @litertjs/wasm-utils; {name} is missing. "
            f"Received: litert={str(modules)!r}"
        )
    return path


def _copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
