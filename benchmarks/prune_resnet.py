"""What each criterion leaves of CIFAR-10 ResNets at half of the MACs.

    python benchmarks/prune_resnet.py \
        --models resnet20=resnet20.keras resnet56=resnet56.keras

The models are trained CIFAR-10 ResNets of He et al. (2016) with parameter-free
shortcuts, as published by Idelbayev: saved Keras models that end in logits and
whose inputs are normalised by ImageNet's mean and standard deviation.

For each model and criterion: plan for half of the MACs, check that the small
model computes what the masked one does, test it, fine-tune it, test it again.
A row is written as soon as it is done, and one that is there is not done
again, so a run may be stopped and started anew.

Channels are not rounded to multiples of 8: on ResNet-20 before fine-tuning
that is better for "group_norm" (18.5% against 16.0% of the test images) but
worse for "bn_scale" (10.0, 12.6), "taylor" (11.2, 13.9) and "loss_rise"
(12.8, 14.8).
"""

import argparse
import functools
import json
import os
import pathlib
import platform
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from augmentation import BATCH
from augmentation import MEAN
from augmentation import SHIFT
from augmentation import STD
from augmentation import batches
from keras import ops
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import terminal
from keras_nonconvex.pruning import criteria

BUDGET = {"macs": 0.5}
RATE = 0.01
DECAY = 1e-4
TOLERANCE = 1e-4
EPOCHS = 2

# name -> (what it is called in the table, criterion of (x, y)); the most
# telling ones first.
CRITERIA = {
    "group_norm": ("group_norm, l2", lambda data: criteria.GroupNorm(2)),
    "taylor": ("taylor", lambda data: criteria.Taylor(data)),
    "loss_rise": ("loss_rise, one shot", lambda data: criteria.LossRise(data)),
    "bn_scale": ("bn_scale", lambda data: criteria.BNScale()),
    "geometric_median": (
        "geometric_median",
        lambda data: criteria.GeometricMedian(),
    ),
    "random": ("random", lambda data: criteria.Random()),
    "group_norm_l1": ("group_norm, l1", lambda data: criteria.GroupNorm(1)),
    "bn_scale_optimal": (
        "bn_scale, optimal",
        lambda data: criteria.BNScale("optimal"),
    ),
    "loss_rise_greedy": (
        "loss_rise, greedy, 5 rounds of 128 samples",
        lambda data: criteria.LossRise(
            data, samples=128, mode="greedy", rounds=5
        ),
    ),
}
COLUMNS = (
    "network",
    "criterion",
    "params left",
    "MACs left",
    "planning, s",
    "accuracy dense",
    "pruned",
    "fine-tuned",
)


@functools.cache
def images(limit):
    """(x_train, y_train, x_test, y_test), normalised; `limit` of each."""
    found = datasets.load("cifar10")
    splits = []
    for x, y in (
        (found.x_train, found.y_train),
        (found.x_test, found.y_test),
    ):
        splits += [(x[:limit] - MEAN) / STD, y[:limit]]
    return splits


def compiled(model, steps=1):
    """Compiles a model for `steps` steps of fine-tuning."""
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(RATE, steps),
            momentum=0.9,
            nesterov=True,
            weight_decay=DECAY,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def accuracy(model, x, y):
    found = model.evaluate(x, y, batch_size=500, verbose=0, return_dict=True)
    return found["accuracy"]


def difference(small, masked, x):
    """The greatest difference of outputs, relative to the greatest output."""
    a, b = (ops.convert_to_numpy(m(x, training=False)) for m in (small, masked))
    return float(np.abs(a - b).max() / np.abs(b).max())


def measured(model, name, dense, settings, console, title):
    """One row of the table, but for what it is called."""
    x_train, y_train, x_test, y_test = images(settings["images"])
    _, criterion = CRITERIA[name]
    start = time.perf_counter()
    plan = knc.pruning.plan(
        model, criterion((x_train, y_train)), BUDGET, round_to=1
    )
    seconds = time.perf_counter() - start
    small = plan.apply(model)
    error = difference(small, plan.mask(model), x_test[:256])
    keras.utils.set_random_seed(0)
    steps = len(x_train) // BATCH
    compiled(small, max(1, steps * settings["epochs"]))
    pruned = accuracy(small, x_test, y_test)
    console.print(
        f"  {title}: planned in {seconds:.1f} s, "
        f"test accuracy {pruned:.4f}, masked differs by {error:.1e}",
        highlight=False,
        soft_wrap=True,
    )
    if settings["epochs"]:
        small.fit(
            batches(x_train, y_train),
            steps_per_epoch=steps,
            epochs=settings["epochs"],
            shuffle=False,
            verbose=0,
            callbacks=[terminal.Epochs(console, title)],
        )
    return {
        "params": plan.after["params"] / plan.before["params"],
        "macs": plan.after["macs"] / plan.before["macs"],
        "planning_seconds": seconds,
        "mask_error": error,
        "dense": dense,
        "pruned": pruned,
        "fine_tuned": accuracy(small, x_test, y_test),
        "versions": versions(),
    }


def versions():
    return (
        f"keras-nonconvex {knc.__version__}, Keras {keras.__version__}, "
        f"TensorFlow {tf.__version__}, NumPy {np.__version__}, "
        f"Python {platform.python_version()}; {platform.machine()}, "
        f"{os.cpu_count()} cores"
    )


def markdown(found):
    """The table as text, with what it was made by on top."""
    settings, rows = found["settings"], found["rows"]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    chosen = (
        ""
        if settings["epochs"] == EPOCHS
        else f" --epochs {settings['epochs']}"
    )
    if settings["images"]:
        chosen += f" --images {settings['images']}"
    models = " ".join(f"{name}={name}.keras" for name in networks)
    limit = settings["images"]
    lines = [
        "# CIFAR-10 ResNets at half of their MACs",
        "",
        f"    python benchmarks/prune_resnet.py --models {models}{chosen}",
        "",
        f"- Budget {json.dumps(BUDGET)}, `round_to=1`; criteria as they are "
        "by default where nothing else is said.",
        f"- Fine-tuning: {settings['epochs']} epochs of {limit or 50_000:,} "
        f"training images, SGD {RATE} to 0 by a cosine, Nesterov momentum "
        f"0.9, batch {BATCH}, weight decay {DECAY}, random flips and shifts "
        f"by up to {SHIFT} pixels. One run each, seed 0.",
        f"- Accuracy in percent of {limit or 10_000:,} test images.",
        "- Small and masked model differ by "
        f"{max(row['mask_error'] for row in rows):.1e} of the greatest output "
        "at most, over 256 test images.",
        "- Planning in seconds of a machine that may have had other work.",
        *(f"- {text}" for text in dict.fromkeys(r["versions"] for r in rows)),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * (len(COLUMNS) - 2)}",
    ]
    for row in rows:
        cells = (
            row["network"],
            CRITERIA[row["criterion"]][0],
            f"{row['params']:.1%}",
            f"{row['macs']:.1%}",
            f"{row['planning_seconds']:.1f}",
            *(f"{100 * row[k]:.2f}" for k in ("dense", "pruned", "fine_tuned")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def existing(out, settings):
    """The rows that are there by now, {} if none."""
    if not out.is_file():
        return {}
    found = json.loads(out.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise ValueError(
            f"{out} was made with other settings, {found['settings']}: give "
            f"another --out. Received: {settings}"
        )
    return {(row["network"], row["criterion"]): row for row in found["rows"]}


def write(out, settings, rows):
    """Both files, rows in the order of networks and criteria."""
    networks = sorted({network for network, _ in rows})
    names = list(CRITERIA)
    order = sorted(
        rows, key=lambda k: (networks.index(k[0]), names.index(k[1]))
    )
    found = {"settings": settings, "rows": [rows[key] for key in order]}
    files.write_text(out, json.dumps(found, indent=1) + "\n")
    files.write_text(out.with_suffix(".md"), markdown(found))


def named(text):
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(
            f"must be NAME=FILE.keras. Received: {text!r}"
        )
    return name, path


def parsed():
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
        "--networks", nargs="+", help="only these names of --models"
    )
    parser.add_argument(
        "--criteria",
        nargs="+",
        choices=CRITERIA,
        default=list(CRITERIA),
        metavar="NAME",
        help=f"all if not given: {', '.join(CRITERIA)}",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=EPOCHS,
        help="of fine-tuning (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=int,
        help="only so many training and test images, to try it out",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results/prune_resnet.json",
        help="the JSON file; the table is written next to it",
    )
    parser.add_argument(
        "--force", action="store_true", help="redo rows that are there"
    )
    options = parser.parse_args()
    options.models = dict(options.models)
    unknown = set(options.networks or ()) - set(options.models)
    if unknown:
        parser.error(f"--networks: no such name in --models: {unknown}")
    if options.images is not None and options.images < BATCH:
        parser.error(f"--images: at least {BATCH}, a batch")
    return options


def main():
    options = parsed()
    settings = {"epochs": options.epochs, "images": options.images}
    console = Console()
    rows = existing(options.out, settings)
    differing = []
    for network in options.networks or options.models:
        left = [
            name
            for name in options.criteria
            if options.force or (network, name) not in rows
        ]
        if not left:
            continue
        _, _, x_test, y_test = images(settings["images"])
        model = files.load_model(options.models[network])
        dense = accuracy(compiled(model), x_test, y_test)
        console.print(f"{network}: test accuracy {dense:.4f}")
        for name in left:
            start = time.perf_counter()
            title = f"{network}, {CRITERIA[name][0]}"
            rows[network, name] = {
                "network": network,
                "criterion": name,
                **measured(model, name, dense, settings, console, title),
            }
            write(options.out, settings, rows)
            row = rows[network, name]
            if row["mask_error"] > TOLERANCE:
                differing.append(title)
            console.print(
                f"  {title}: test accuracy {row['fine_tuned']:.4f}, "
                f"{time.perf_counter() - start:.0f} s in all",
                highlight=False,
                soft_wrap=True,
            )
    if differing:
        sys.exit(f"Small and masked models differ: {'; '.join(differing)}")


if __name__ == "__main__":
    main()
