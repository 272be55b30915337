"""From a budget to a small network: plan, repair, fine-tune with a teacher.

The models are those of `prune_resnet.py`. For each row: plan by Taylor scores
per MAC in several steps, repair after each on unlabelled training images, and
fine-tune with the dense model as the teacher. All settings of `fine_tune` are
its defaults; how to plan was chosen by `recovery_choices.py`. A row is written
as soon as it is done, and one that is there is not done again, so a run may be
stopped and started anew.
"""

import argparse
import datetime
import functools
import json
import pathlib
import time

import keras
import prune_resnet
from augmentation import BATCH
from augmentation import SHIFT
from augmentation import batches
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import files
from keras_nonconvex import terminal
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning import pruning_plan

EPOCHS = 2
# The default of `fine_tune`; it was 3 and 6 once, as some rows say.
TEMPERATURE = 10.0
# Of the training images, those that plans and repairs look at.
LOOKED_AT = 4000

# name -> (network, the fractions of its MACs that the steps leave).
ROWS = {
    "resnet20 50%": ("resnet20", (0.8, 0.65, 0.5)),
    "resnet20 33%": ("resnet20", (0.65, 0.46, 0.333)),
    "resnet56 50%": ("resnet56", (0.8, 0.65, 0.5)),
}
COLUMNS = (
    "row",
    "steps, MACs",
    "images scored",
    "params left",
    "MACs left",
    "accuracy dense",
    "pruned",
    "repaired",
    "fine-tuned",
    "temperature",
    "plan and repair, s",
    "fine-tuning, s",
)


def repaired(dense, fractions, criterion, x):
    """(small model after the steps, repaired after each; plan of all)."""
    plans, small = [], dense
    for fraction in fractions:
        left = fraction
        if plans:
            left *= plans[0].before["macs"] / plans[-1].after["macs"]
        plan = knc.pruning.plan(small, criterion, {"macs": left}, 1)
        plans.append(plan)
        whole = functools.reduce(pruning_plan.PruningPlan.then, plans)
        small, _ = knc.repair(plan.apply(small), whole, dense, x, verbose=False)
    return small, whole


def measured(name, dense, accuracy, epochs, seed, console):
    """One row of the table."""
    _, fractions = ROWS[name]
    x, y, x_test, y_test = prune_resnet.images(None)
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    seen = x[:LOOKED_AT], y[:LOOKED_AT]
    criterion = criteria.Taylor(seen, samples=LOOKED_AT, batch_size=16)
    small, plan = repaired(dense, fractions, criterion, seen[0])
    seconds = time.perf_counter() - start
    row = {
        "row": name,
        "seed": seed,
        "steps": fractions,
        "scored": LOOKED_AT,
        "params": plan.after["params"] / plan.before["params"],
        "macs": plan.after["macs"] / plan.before["macs"],
        "dense": accuracy,
        "pruned": prune_resnet.accuracy(
            prune_resnet.compiled(plan.apply(dense)), x_test, y_test
        ),
        "repaired": prune_resnet.accuracy(small, x_test, y_test),
        "repair_seconds": seconds,
    }
    console.print(f"{name}: {row}", highlight=False)
    start = time.perf_counter()
    knc.fine_tune(
        small,
        batches(x, y, seed),
        epochs=epochs,
        teacher=dense,
        temperature=TEMPERATURE,
        steps_per_epoch=len(x) // BATCH,
        verbose=0,
        callbacks=[terminal.Epochs(console, name)],
    )
    row["temperature"] = TEMPERATURE
    row["fine_tune_seconds"] = time.perf_counter() - start
    row["fine_tuned"] = prune_resnet.accuracy(small, x_test, y_test)
    row["versions"] = prune_resnet.versions()
    row["date"] = datetime.date.today().isoformat()
    console.print(f"{name}: {row['fine_tuned']:.4f}", highlight=False)
    return row


def markdown(found):
    """The table as text, with what it was made by on top."""
    rows = found["rows"]
    networks = list(dict.fromkeys(ROWS[row["row"]][0] for row in rows))
    models = " ".join(f"{name}={name}.keras" for name in networks)
    lines = [
        "# CIFAR-10 ResNets: planned, repaired, fine-tuned",
        "",
        f"    python benchmarks/recovery.py --models {models} "
        f"--epochs {found['epochs']} --seed {found['seed']}",
        "",
        "- Plans by Taylor scores (batches of 16 training images), summed over "
        "a class, per MAC; `round_to=1`. Each step is repaired with "
        f"{LOOKED_AT:,} training images.",
        f"- Fine-tuning: {found['epochs']} epochs of 50,000 training images, "
        f"batch {BATCH}, random flips and shifts by up to "
        f"{SHIFT} pixels, the dense model as the teacher; all "
        "else is the default of `fine_tune`.",
        f"- Accuracy in percent of 10,000 test images; one seed, "
        f"{found['seed']}.",
        "- Seconds of a machine that had other work.",
        *(
            f"- {text}"
            for text in dict.fromkeys(
                f"{row['versions']}; {row['date']}" for row in rows
            )
        ),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|---|{'---:|' * (len(COLUMNS) - 2)}",
    ]
    for row in rows:
        cells = (
            row["row"],
            ", ".join(f"{fraction:.1%}" for fraction in row["steps"]),
            f"{row['scored']:,}",
            f"{row['params']:.1%}",
            f"{row['macs']:.1%}",
            *(
                f"{100 * row[key]:.2f}"
                for key in ("dense", "pruned", "repaired", "fine_tuned")
            ),
            f"{row['temperature']:g}",
            f"{row['repair_seconds']:.0f}",
            f"{row['fine_tune_seconds']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        type=prune_resnet.named,
        required=True,
        metavar="NAME=FILE.keras",
        help="saved models: resnet20, resnet56; rows of others are left out",
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results/recovery.json",
        help="the JSON file; the table is written next to it",
    )
    return parser.parse_args()


def main():
    options = parsed()
    models = dict(options.models)
    settings = {"epochs": options.epochs, "seed": options.seed}
    rows = {}
    if options.out.is_file():
        found = json.loads(options.out.read_text(encoding="utf-8"))
        if {key: found[key] for key in settings} != settings:
            raise ValueError(
                f"{options.out} was made with other settings: give another "
                f"--out. Received: {settings}"
            )
        rows = {row["row"]: row for row in found["rows"]}
    console = Console()
    for name in options.rows:
        network = ROWS[name][0]
        if name in rows or network not in models:
            continue
        _, _, x_test, y_test = prune_resnet.images(None)
        dense = prune_resnet.compiled(files.load_model(models[network]))
        # On CPU the graph takes 0.4 times as long without XLA.
        dense.compile(loss=dense.loss, metrics=["accuracy"], jit_compile=False)
        accuracy = prune_resnet.accuracy(dense, x_test, y_test)
        rows[name] = measured(
            name, dense, accuracy, options.epochs, options.seed, console
        )
        done = {**settings, "rows": [rows[n] for n in ROWS if n in rows]}
        files.write_text(options.out, json.dumps(done, indent=1) + "\n")
        files.write_text(options.out.with_suffix(".md"), markdown(done))


if __name__ == "__main__":
    main()
