"""How much accuracy least squares bring back, without labels or training.

    python benchmarks/repair.py --models resnet20=resnet20.keras \
        resnet56=resnet56.keras mobilenet=mobilenet.keras

The ResNets are trained CIFAR-10 networks of He et al. (2016) with
parameter-free shortcuts, as published by Idelbayev: saved Keras models that
end in logits and whose inputs are normalised by ImageNet's mean and standard
deviation. The other one is `keras.applications.MobileNet` with alpha 0.25 and
ImageNet's weights for 224x224.

For each row: plan, cut, and measure right after the cut, with the statistics
of the batch normalizations taken anew, and repaired (`knc.repair`). In a row
of several steps each step is scored anew on the repaired network of the one
before; "cut" and "recalibrated" are of the one plan that these steps make.
Planning and repair see training images without labels, and the criterion is
the one by default for these, "output_change".

CIFAR-10 networks are judged by the accuracy on the test images. ImageNet's
pictures are not at hand, so MobileNet is judged by how often its first choice
is that of the dense network, on CIFAR-10's test images enlarged to its size.

A row is written as soon as it is done, and one that is there is not done
again, so a run may be stopped and started anew.
"""

import argparse
import datetime
import functools
import json
import pathlib
import time

import keras
import numpy as np
from keras import ops
from prune_resnet import named
from prune_resnet import versions
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import datasets
from keras_nonconvex import files

MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")
BATCH = 100
# name -> the shares of the MACs that its rows leave, step by step.
ROWS = {
    "resnet20": [(0.5,), (0.65, 0.46, 0.333)],
    "resnet56": [(0.5,)],
    "mobilenet": [(0.7,)],
}
COLUMNS = (
    "network",
    "MACs, by step",
    "params left",
    "MACs left",
    "dense",
    "right after",
    "batch norm recalibrated",
    "repaired",
    "repair, s",
    "repair, CPU s",
)


class Cifar:
    """CIFAR-10 as the ResNets take it; the figure is the test accuracy."""

    measure = "test accuracy"

    def __init__(self, samples, dense):
        (x, _), (x_test, self.y_test) = shuffled_cifar()
        self.samples = (x[:samples] - MEAN) / STD
        self.x_test = (x_test - MEAN) / STD

    def figure(self, model):
        return share(model, self.x_test, self.y_test)


class Pictures:
    """CIFAR-10, enlarged; the figure is the agreement with the dense model."""

    measure = "top-1 agreement with the dense network"

    def __init__(self, samples, dense):
        (x, _), (x_test, _) = shuffled_cifar()
        size = dense.input_shape[1:3]
        self.samples = enlarged(x[:samples], size)
        self.x_test = enlarged(x_test[:1000], size)
        self.y_test = top(dense, self.x_test)

    def figure(self, model):
        return share(model, self.x_test, self.y_test)


@functools.cache
def shuffled_cifar():
    """((x, y) of training, (x, y) of test) in a random order, in [0, 1]."""
    found = datasets.load("cifar10")
    train = np.random.default_rng(0).permutation(len(found.x_train))
    test = np.random.default_rng(0).permutation(len(found.x_test))
    return (
        (found.x_train[train], found.y_train[train]),
        (found.x_test[test], found.y_test[test]),
    )


def enlarged(x, size):
    """Images of a size, as MobileNet takes them: in [-1, 1]."""
    resized = [
        ops.convert_to_numpy(
            ops.image.resize(x[i : i + BATCH], size, interpolation="bicubic")
        )
        for i in range(0, len(x), BATCH)
    ]
    return 2 * np.clip(np.concatenate(resized), 0, 1) - 1


def top(model, x):
    return model.predict(x, batch_size=BATCH, verbose=0).argmax(-1)


def share(model, x, y):
    return float((top(model, x) == np.ravel(y)).mean())


def recalibrated(model, x):
    """A copy with the mean statistics of these samples, batch by batch."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    norms = [
        layer
        for layer in copy.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for i in range(0, len(x), BATCH):
        for norm in norms:
            norm.momentum = i / (i + BATCH)
        copy(x[i : i + BATCH], training=True)
    return copy


def row(dense, task, shares):
    """What a row says, but for its names."""
    full = knc.pruning.plan(dense).before["macs"]
    repaired, plans = dense, []
    spent = dict.fromkeys(("planning_seconds", "seconds", "cpu_seconds"), 0.0)
    for part in shares:
        start = time.perf_counter()
        budget = {"macs": round(part * full)}
        data = (task.samples, None)
        plans.append(
            knc.pruning.plan(repaired, None, budget, round_to=1, data=data)
        )
        whole = functools.reduce(knc.pruning.PruningPlan.then, plans)
        cut = plans[-1].apply(repaired)
        spent["planning_seconds"] += time.perf_counter() - start
        start, cpu = time.perf_counter(), time.process_time()
        repaired, report = knc.repair(cut, whole, dense, task.samples)
        spent["seconds"] += time.perf_counter() - start
        spent["cpu_seconds"] += time.process_time() - cpu
    small = whole.apply(dense)
    return {
        "params": whole.after["params"] / whole.before["params"],
        "macs": whole.after["macs"] / whole.before["macs"],
        **spent,
        "criterion": whole.criterion,
        "measure": task.measure,
        "dense": task.figure(dense),
        "cut": task.figure(small),
        "recalibrated": task.figure(recalibrated(small, task.samples)),
        "repaired": task.figure(repaired),
        "kept": {entry.name: entry.kept for entry in report if entry.kept},
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }


def markdown(found):
    """The table as text, with what it was made by on top."""
    rows = found["rows"]
    names = dict.fromkeys(entry["network"] for entry in rows)
    models = " ".join(f"{name}={name}.keras" for name in names)
    samples = found["settings"]["samples"]
    notes = dict.fromkeys(f"{e['date']}, {e['versions']}" for e in rows)
    plans = ", ".join(dict.fromkeys(f'"{e["criterion"]}"' for e in rows))
    measures = {}
    for entry in rows:
        measures.setdefault(entry["measure"], []).append(entry["network"])
    lines = [
        "# Repair by least squares",
        "",
        f"    python benchmarks/repair.py --models {models} "
        f"--samples {samples}",
        "",
        f"- Planned with {plans} and refitted on {samples:,} training images "
        "without labels; no training. `round_to=1`; one run each.",
        *(
            f"- {', '.join(dict.fromkeys(networks))}: {measure}, in percent."
            for measure, networks in measures.items()
        ),
        "- Seconds of a machine that had other work: the CPU seconds say more.",
        *(f"- {note}" for note in notes),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * (len(COLUMNS) - 2)}",
    ]
    for entry in rows:
        cells = (
            entry["network"],
            ", ".join(f"{part:g}" for part in entry["shares"]),
            *(f"{entry[key]:.1%}" for key in ("params", "macs")),
            *(
                f"{100 * entry[key]:.2f}"
                for key in ("dense", "cut", "recalibrated", "repaired")
            ),
            *(f"{entry[key]:.0f}" for key in ("seconds", "cpu_seconds")),
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
    return {(e["network"], tuple(e["shares"])): e for e in found["rows"]}


def write(out, settings, rows):
    """Both files, rows in the order of `ROWS`."""
    order = [(name, shares) for name, each in ROWS.items() for shares in each]
    found = {
        "settings": settings,
        "rows": [rows[key] for key in sorted(rows, key=order.index)],
    }
    files.write_text(out, json.dumps(found, indent=1) + "\n")
    files.write_text(out.with_suffix(".md"), markdown(found))


def known(text):
    name, path = named(text)
    if name not in ROWS:
        raise argparse.ArgumentTypeError(
            f"must have a name of {', '.join(ROWS)}. Received: {text!r}"
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
        type=known,
        required=True,
        metavar="NAME=FILE.keras",
        help=f"saved models of the names {', '.join(ROWS)}",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=2000,
        help="images that the repair looks at (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results/repair.json",
        help="the JSON file; the table is written next to it",
    )
    parser.add_argument(
        "--force", action="store_true", help="redo rows that are there"
    )
    return parser.parse_args()


def main():
    options = parsed()
    settings = {"samples": options.samples}
    console = Console()
    rows = existing(options.out, settings)
    for name, path in options.models:
        left = [
            shares
            for shares in ROWS[name]
            if options.force or (name, shares) not in rows
        ]
        if not left:
            continue
        dense = files.load_model(path)
        kind = Cifar if dense.output_shape[-1] == 10 else Pictures
        task = kind(options.samples, dense)
        for shares in left:
            made = row(dense, task, shares)
            rows[name, shares] = {"network": name, "shares": shares, **made}
            write(options.out, settings, rows)
            console.print(
                f"{name} {shares}: {made['measure']}: dense "
                f"{made['dense']:.4f}, cut {made['cut']:.4f}, recalibrated "
                f"{made['recalibrated']:.4f}, repaired "
                f"{made['repaired']:.4f} in {made['seconds']:.0f} s, "
                f"{made['cpu_seconds']:.0f} CPU s",
                highlight=False,
                soft_wrap=True,
            )


if __name__ == "__main__":
    main()
