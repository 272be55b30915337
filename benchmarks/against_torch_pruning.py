"""Torch-Pruning beside this package: the same weights, budgets, training.

    pip install 'keras-nonconvex[benchmarks]'
    python benchmarks/against_torch_pruning.py \
        --models resnet20=resnet20.keras resnet56=resnet56.keras

The models are trained CIFAR-10 ResNets as in `prune_resnet.py`. PyTorch runs
in a process of its own, `--torch-python` names another environment for it.

- Same weights: Torch-Pruning gets them by name, and the logits of both
  frameworks are compared before and after pruning and after training.
  Torch-Pruning 1.6.1 ends in an IndexError on shortcuts that pad channels, so
  its network has 1x1 convolutions there that compute the same at first, are
  pruned and trained, and count.
- Same budget: one function counts both sides, of the network as published.
- Same training: SGD 0.01 (the rate of Torch-Pruning's own experiments on
  CIFAR) to 0 by a cosine per step, Nesterov momentum 0.9, no decay, and the
  same random batches. Rows at 0.05 show what that choice does.
- What may be looked at before training, on both sides: 2,000 random training
  images, 1,024 of them for gradients.

A row is written as soon as it is done, and one that is there is not done
again, so a run may be stopped and started anew; the most telling rows come
first. `--no-training` fills in what stands before training, for all rows, in
a small part of the time.
"""

import argparse
import datetime
import fnmatch
import json
import os
import pathlib
import platform
import sys
import tempfile
import time

import keras
import tensorflow as tf
from against import bench
from against import ours
from against import table
from against import theirs
from against import zeros
from augmentation import BATCH
from augmentation import SHIFT
from prune_resnet import named
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import files

EPOCHS = 2
QUICK = {"epochs": 1, "images": 10 * BATCH}


def existing(out, settings):
    """The networks and rows that are there by now, {} if none."""
    if not out.is_file():
        return {}, {}
    found = json.loads(out.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise ValueError(
            f"{out} was made with other settings, {found['settings']}: give "
            f"another --out. Received: {settings}"
        )
    rows = {}
    for row in found["rows"]:
        rows[tuple(row[key] for key in KEYS)] = row
    return found["networks"], rows


KEYS = ("network", "key", "percent", "method", "seed")


def write(out, settings, networks, rows):
    """Both files: the rows as they are, and the table."""
    found = {
        "settings": settings,
        "networks": networks,
        "rows": list(rows.values()),
    }
    files.write_text(out, json.dumps(found, indent=1) + "\n")
    text = table.markdown(rows, networks, head(settings, networks, rows))
    files.write_text(out.with_suffix(".md"), text)


def head(settings, networks, rows):
    """What was measured, how, on what and when."""
    images = settings["images"]
    models = " ".join(f"{name}={name}.keras" for name in networks)
    chosen = f" --images {images}" if images else ""
    if settings["epochs"] != EPOCHS:
        chosen += f" --epochs {settings['epochs']}"
    parity = [row["parity"] for row in rows.values() if "parity" in row]
    days = sorted(row["day"] for row in rows.values())
    lines = [
        "# Beside Torch-Pruning: CIFAR-10 ResNets",
        "",
        "    python benchmarks/against_torch_pruning.py "
        f"--models {models}{chosen}",
        "",
        f"- Accuracy in percent of {images or 10_000:,} test images. One row "
        "is one run.",
        f"- trained: {settings['epochs']} epochs of {images or 50_000:,} "
        f"training images, SGD {bench.RATE} (the rate of Torch-Pruning's own "
        "experiments) or what the row says, to 0 by a cosine per step, "
        f"Nesterov momentum {bench.MOMENTUM}, batch {BATCH}, no decay, flips "
        f"and shifts by up to {SHIFT} pixels, the same batches on both sides. "
        "Sparse learning takes as many epochs before.",
        f"- Scores, recalibration and repair look at {bench.CHOSEN:,} training "
        "images; repair and recalibration at no labels. A seed draws these "
        "and the batches.",
        "- Parameters and MACs in percent of the network as published, "
        "counted by one function. Torch-Pruning's has 1x1 convolutions as "
        "shortcuts (it cannot follow padded ones), which compute the same "
        "before pruning. Channels are not rounded to multiples.",
        f"- With teacher: the dense model, weight "
        f"{ours.TEACHER['teacher_weight']}, temperature "
        f"{ours.TEACHER['temperature']:.0f}.",
        "- Latency: batch 1, one thread, median, with the dense network in "
        "turn; the machine may have had other work. LiteRT for both sides, "
        "torch for Torch-Pruning.",
    ]
    if parity:
        lines.append(
            "- Logits in Keras and torch differ by "
            f"{max(parity):.1e} of the greatest one at most, over all stages "
            f"of all rows, {theirs.PARITY} test images."
        )
    if days:
        lines.append(f"- Measured {days[0]} to {days[-1]}.")
    said = [row["versions"] for row in rows.values()]
    return lines + [f"- {text}" for text in dict.fromkeys(said)]


def versions():
    return (
        f"keras-nonconvex {knc.__version__}, Keras {keras.__version__}, "
        f"TensorFlow {tf.__version__}; {platform.machine()}, "
        f"{os.cpu_count()} cores"
    )


def measured(row, lab, dense):
    """The figures of one row, which a dense network's counts belong to."""
    _, key, percent, method, seed = row
    budget = {key: table.BUDGETS[percent] * dense[key]}
    start = time.perf_counter()
    side = theirs if table.is_theirs(method) else ours
    side = zeros if method in table.ZEROS else side
    figures = side.row(lab, method, budget, seed)
    theirs_too = figures.pop("versions", None)
    return {
        **dict(zip(KEYS, row, strict=True)),
        **figures,
        "versions": "; ".join(filter(None, (versions(), theirs_too))),
        "day": datetime.date.today().isoformat(),
        "total_seconds": time.perf_counter() - start,
    }


def parsed(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        type=named,
        required=True,
        metavar="NAME=FILE.keras",
        help="saved models, and what to call them",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="only rows like these, 'resnet20/macs-50/tp_*/0'; "
        f"methods: {', '.join(table.METHODS)}",
    )
    parser.add_argument(
        "--torch-python",
        default=sys.executable,
        metavar="PATH",
        help="the interpreter that has torch and torch-pruning "
        "(default: this one)",
    )
    parser.add_argument(
        "--no-training",
        action="store_true",
        help="only what stands before training",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=EPOCHS,
        help="of training (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=int,
        help="only so many training and test images",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few images and one epoch, to try it out; needs --out",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=300,
        help="timed inferences per file (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="the JSON file; the table is written next to it "
        "(default: results/against_torch_pruning.json)",
    )
    options = parser.parse_args(arguments)
    options.models = dict(options.models)
    if options.quick:
        if not options.out:
            parser.error("--quick: needs --out, its rows are no results")
        vars(options).update(QUICK)
    if options.images is not None and options.images < BATCH:
        parser.error(f"--images: at least {BATCH}, a batch")
    folder = pathlib.Path(__file__).parent / "results"
    options.out = options.out or folder / "against_torch_pruning.json"
    return options


def wanted(rows, patterns, networks, training):
    """The rows that are asked for and not there, in order."""
    return [
        row
        for row in table.order(networks)
        if any(fnmatch.fnmatch(table.name(row), text) for text in patterns)
        and (training or row[3] not in table.ZEROS)
        and (row not in rows or (training and "fine_tuned" not in rows[row]))
    ]


def main():
    options = parsed()
    settings = {"epochs": options.epochs, "images": options.images}
    networks, rows = existing(options.out, settings)
    left = wanted(rows, options.rows, options.models, not options.no_training)
    console = Console()
    lab = None
    with tempfile.TemporaryDirectory() as folder:
        for row in left:
            network = row[0]
            if lab is None or lab.dense.name != network:
                dense = files.load_model(options.models[network])
                dense.name = network
                lab = bench.Bench(
                    dense,
                    options.images,
                    0 if options.no_training else options.epochs,
                    options.runs,
                    pathlib.Path(folder),
                    options.torch_python,
                    console,
                )
                networks[network] = {
                    **bench.counts(dense),
                    "accuracy": lab.accuracy(dense),
                }
            console.print(table.name(row), highlight=False)
            rows[row] = measured(row, lab, networks[network])
            write(options.out, settings, networks, rows)


if __name__ == "__main__":
    main()
