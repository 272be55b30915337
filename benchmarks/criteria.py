"""Which criterion, and which settings of it, leave the best small network.

    python benchmarks/criteria.py --plain plain.keras \
        --models resnet20=resnet20.keras resnet56=resnet56.keras

The models are those of `prune_resnet.py`, CIFAR-10 ResNets. "plain" is a net
of five convolutions without shortcuts for Fashion-MNIST, which this trains for
two epochs if the file is not there.

Defaults are chosen by this table, so it is made without the test set: the
training images are permuted with seed 0, criteria and repair see the first
4,096 of them, and accuracies are those on the last 5,000.

A row is written as soon as it is done, and one that is there is not done
again, so a run may be stopped and started anew. Repair takes most of the
time, and is done with --repair alone.
"""

import argparse
import functools
import json
import pathlib
import time

import keras
import numpy as np
from keras import layers
from prune_resnet import MEAN
from prune_resnet import STD
from prune_resnet import named
from prune_resnet import versions
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex.pruning import criteria

SEEN = 4096
JUDGED = 5000
BUDGETS = (0.5, 0.33)
REPAIR = {"samples": 1000, "verbose": False}
PLAIN = "plain"
EPOCHS = 2


def taylor(batch_size, samples):
    return lambda data: criteria.Taylor(data, samples, batch_size)


def change(batch_size, samples):
    return lambda data: criteria.OutputChange(data, samples, batch_size)


def plainly(name):
    """A criterion by its name, with its defaults."""
    make = criteria.REGISTRY[name]
    if not criteria.needs_data(name):
        return lambda data: make()
    return lambda data: make(data)


# What a row is called -> (criterion of (x, y), further arguments of `plan`);
# the most telling ones first.
VARIANTS = {
    "output_change": (plainly("output_change"), {}),
    "taylor": (plainly("taylor"), {}),
    "group_norm": (plainly("group_norm"), {}),
    "bn_importance": (plainly("bn_importance"), {}),
    "geometric_median": (plainly("geometric_median"), {}),
    "taylor, batch 64 of 1,024": (taylor(64, 1024), {}),
    "taylor, batch 4 of 1,024": (taylor(4, 1024), {}),
    "taylor, batch 1 of 1,024": (taylor(1, 1024), {}),
    "taylor, batch 16 of 4,096": (taylor(16, 4096), {}),
    "taylor, batch 64 of 4,096": (taylor(64, 4096), {}),
    "output_change, batch 64 of 1,024": (change(64, 1024), {}),
    "output_change, batch 16 of 4,096": (change(16, 4096), {}),
    "output_change, batch 64 of 4,096": (change(64, 4096), {}),
    "output_change, not per cost": (plainly("output_change"), {"per": None}),
    "group_norm, per MAC": (plainly("group_norm"), {"per": "macs"}),
    "group_norm, sum per MAC": (
        plainly("group_norm"),
        {"combine": "sum", "per": "macs"},
    ),
    "group_norm, max": (plainly("group_norm"), {"combine": "max"}),
    "bn_importance, sum per MAC": (
        plainly("bn_importance"),
        {"combine": "sum", "per": "macs"},
    ),
    "geometric_median, sum per MAC": (
        plainly("geometric_median"),
        {"combine": "sum", "per": "macs"},
    ),
    "bn_scale": (plainly("bn_scale"), {}),
    "mean_activation": (plainly("mean_activation"), {}),
    "apoz": (plainly("apoz"), {}),
    "fisher": (plainly("fisher"), {}),
    "loss_rise": (plainly("loss_rise"), {}),
    "loss_rise, per MAC": (plainly("loss_rise"), {"per": "macs"}),
    "random": (plainly("random"), {}),
}
COLUMNS = (
    "network",
    "MACs",
    "criterion",
    "params left",
    "planning, s",
    "pruned",
    "recalibrated",
    "repaired",
)


@functools.cache
def images(network, judged):
    """((x, y) for criteria and repair, (x, y) to judge by)."""
    plain = network == PLAIN
    data = datasets.load("fashion_mnist" if plain else "cifar10")
    order = np.random.default_rng(0).permutation(len(data.x_train))
    parts = order[:SEEN], order[-JUDGED:][:judged]
    mean, std = (0.0, 1.0) if plain else (MEAN, STD)
    return [
        (((data.x_train[i] - mean) / std).astype("float32"), data.y_train[i])
        for i in parts
    ]


def plain_net(path):
    """The net without shortcuts, trained unless the file is there."""
    if path.is_file():
        return files.load_model(path)
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((28, 28, 1))
    for width, count in ((16, 1), (32, 2), (64, 2)):
        for _ in range(count):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10)(x), name=PLAIN)
    data = datasets.load("fashion_mnist")
    order = np.random.default_rng(0).permutation(len(data.x_train))[:-JUDGED]
    steps = EPOCHS * len(order) // 128
    compiled(model, keras.optimizers.schedules.CosineDecay(2e-3, steps))
    model.fit(
        data.x_train[order],
        data.y_train[order],
        batch_size=128,
        epochs=EPOCHS,
        verbose=2,
    )
    files.save_model(model, path)
    return model


def compiled(model, rate=1e-3):
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def accuracy(model, data):
    found = model.evaluate(*data, batch_size=500, verbose=0, return_dict=True)
    return found["accuracy"]


def measured(model, variant, budget, seen, judged, repair):
    """One row of the table, but for what it is called."""
    make, options = VARIANTS[variant]
    start = time.perf_counter()
    plan = knc.pruning.plan(
        model, make(seen), {"macs": budget}, round_to=1, **options
    )
    seconds = time.perf_counter() - start
    small = plan.apply(model)
    row = {
        "params": plan.after["params"] / plan.before["params"],
        "macs": plan.after["macs"] / plan.before["macs"],
        "planning_seconds": seconds,
        "pruned": accuracy(small, judged),
    }
    if repair:
        repaired, _ = knc.repair(small, plan, model, seen[0], **REPAIR)
        row["repaired"] = accuracy(repaired, judged)
    knc.recalibrate(small, seen[0][: REPAIR["samples"]])
    return {
        **row,
        "recalibrated": accuracy(small, judged),
        "versions": versions(),
    }


def markdown(found):
    """The table as text, with what it was made by on top."""
    judged, rows = found["judged"], found["rows"]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    given = [f"{name}={name}.keras" for name in networks if name != PLAIN]
    given = " ".join(["--plain plain.keras --models", *given])
    lines = [
        "# What each criterion leaves",
        "",
        f"    python benchmarks/criteria.py {given}"
        + (f" --judged {judged}" if judged != JUDGED else ""),
        "",
        "- Criteria and settings as they are by default where nothing else is "
        'said; `round_to=1`. "batch b of n" is b samples per gradient, n in '
        "all.",
        f"- Accuracy in percent of {judged:,} training images set aside, of "
        "a seeded permutation; no test image was looked at. The ResNets were "
        "trained on these images by those who published them, the plain net "
        "was not. One seed.",
        "- pruned: right after. recalibrated: batch-norm statistics anew from "
        "1,000 images. repaired: `knc.repair` with 1,000 images, no labels.",
        "- Planning in seconds of a machine that had other work. What has no "
        "row, or no number, is still to be measured.",
        *(f"- {text}" for text in dict.fromkeys(r["versions"] for r in rows)),
        *(
            f"- {network}, dense: {100 * found['dense'][network]:.2f}."
            for network in networks
        ),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|---:|---|{'---:|' * (len(COLUMNS) - 3)}",
    ]
    for row in rows:
        cells = (
            row["network"],
            f"{row['budget']:.0%}",
            row["variant"],
            f"{row['params']:.1%}",
            f"{row['planning_seconds']:.1f}",
            *(
                f"{100 * row[key]:.2f}" if key in row else ""
                for key in ("pruned", "recalibrated", "repaired")
            ),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


class Table:
    """The rows that are there by now, in two files."""

    def __init__(self, out, judged):
        self.out = out
        self.judged = judged
        self.rows, self.dense = {}, {}
        if out.is_file():
            found = json.loads(out.read_text(encoding="utf-8"))
            if found["judged"] != judged:
                raise ValueError(
                    f"{out} was made with --judged {found['judged']}: give "
                    f"another --out. Received: --judged {judged}"
                )
            self.dense = found["dense"]
            self.rows = {self._key(row): row for row in found["rows"]}

    def _key(self, row):
        return row["network"], row["budget"], row["variant"]

    def lacks(self, repair, *key):
        """Whether a row is not there, or not with what is wanted."""
        row = self.rows.get(key)
        return row is None or (repair and "repaired" not in row)

    def add(self, row):
        """Writes both files with one more row; the best are first."""
        self.rows[self._key(row)] = row
        rows = sorted(
            self.rows.values(),
            key=lambda r: (
                r["network"],
                -r["budget"],
                -r.get("repaired", 0.0),
                -r["recalibrated"],
            ),
        )
        found = {"judged": self.judged, "dense": self.dense, "rows": rows}
        files.write_text(self.out, json.dumps(found, indent=1) + "\n")
        files.write_text(self.out.with_suffix(".md"), markdown(found))


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="*",
        type=named,
        default=[],
        metavar="NAME=FILE.keras",
        help="saved CIFAR-10 models, and what to call them",
    )
    parser.add_argument(
        "--plain",
        type=pathlib.Path,
        metavar="FILE.keras",
        help="the net without shortcuts, trained and written if not there",
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar="NAME",
        help=f"all if not given: {'; '.join(VARIANTS)}",
    )
    parser.add_argument(
        "--budgets", nargs="+", type=float, default=list(BUDGETS)
    )
    parser.add_argument(
        "--repair", action="store_true", help="also repair what is left"
    )
    parser.add_argument(
        "--judged",
        type=int,
        default=JUDGED,
        help="how many of the images set aside count (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results/criteria.json",
        help="the JSON file; the table is written next to it",
    )
    return parser.parse_args()


def main():
    options = parsed()
    console = Console()
    table = Table(options.out, options.judged)
    networks = dict(options.models)
    if options.plain:
        networks[PLAIN] = options.plain
    for network, path in networks.items():
        left = [
            (variant, budget)
            for variant in options.variants
            for budget in options.budgets
            if table.lacks(options.repair, network, budget, variant)
        ]
        if not left:
            continue
        seen, judged = images(network, options.judged)
        model = (
            plain_net(path)
            if network == PLAIN
            else compiled(files.load_model(path))
        )
        table.dense[network] = accuracy(model, judged)
        for variant, budget in left:
            row = measured(model, variant, budget, seen, judged, options.repair)
            row |= {"network": network, "budget": budget, "variant": variant}
            table.add(row)
            console.print(
                f"{network}, {budget:.0%} of the MACs, {variant}: "
                f"{100 * row['recalibrated']:.2f} recalibrated, "
                f"{100 * row.get('repaired', np.nan):.2f} repaired, "
                f"planned in {row['planning_seconds']:.0f} s",
                highlight=False,
                soft_wrap=True,
            )


if __name__ == "__main__":
    main()
