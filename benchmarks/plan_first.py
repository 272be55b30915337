"""ResNet-20 at half of the MACs: plan first, then train to zero, then remove.

    python benchmarks/plan_first.py --model resnet20.keras

The model, the data and the fine-tuning are those of `prune_resnet.py`. One
plan for half of the MACs (Taylor, summed over a class of tied channels, per
MAC) says which classes go. Each way leads there in the same number of steps:

- "l1", "tl1", "mcp": `CoupledGroups(plan=plan)` with a strength that grows
  until all classes of the plan are exactly zero, while the rest adapts; then
  they are removed, and the small model trains for the steps that are left.
- "at once": they are removed first, and the small model trains.
- "repaired": they are removed first, what is left is refitted by
  `knc.repair` on 2,000 images, and the small model trains.

A row is written when the channels are removed, and again when the small model
has trained. One that is whole is not done again, so a run may be stopped and
started anew.
"""

import argparse
import json
import pathlib
import time

import keras
import prune_resnet
from keras import ops
from prune_resnet import BATCH
from rich.console import Console

import keras_nonconvex as knc
from keras_nonconvex import files
from keras_nonconvex import penalties
from keras_nonconvex import terminal

EVERY = 5
SPEED = 1.1
# name -> (the penalty, the strength that its growth begins with).
PENALTIES = {
    "l1": (penalties.L1(), 1e-4),
    "tl1": (penalties.TransformedL1(0.1), 3e-5),
    # Flat from 0.3 on, above the root mean squares of all classes.
    "mcp": (penalties.MCP(knee=0.1), 1e-4),
}
WAYS = (*PENALTIES, "at once", "repaired")
COLUMNS = (
    "way",
    "steps to zero",
    "classes",
    "params left",
    "MACs left",
    "accuracy dense",
    "removed",
    "after all steps",
    "minutes",
)


class StopAfter(keras.callbacks.Callback):
    """Ends training after so many steps and counts them."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            self.model.stop_training = True


def train(model, data, left, title, console, callbacks=()):
    """Trains until a callback stops it, or for the steps that are left."""
    x, y, *_ = data
    counter, per_epoch = StopAfter(left), len(x) // BATCH
    model.fit(
        prune_resnet.batches(x, y, seed=left),
        steps_per_epoch=per_epoch,
        epochs=-(-left // per_epoch),
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, counter, terminal.Epochs(console, title)],
    )
    return counter.left


def trained_to_zero(dense, plan, name, data, left, console):
    """What training to zero and removing leaves.

    Returns:
        The small model, the steps that are left, the number of classes that
        were zero, and the greatest difference of outputs.
    """
    penalty, strength = PENALTIES[name]
    model = knc.attach(dense, {})
    groups = knc.CoupledGroups(model, penalty, strength, plan=plan)
    prune_resnet.compiled(model, left)
    model.compile(
        model.optimizer, model.loss, metrics=["accuracy"], coupled=groups
    )
    target = knc.callbacks.TargetSparsity(
        1.0, of="groups", mode="grow", speed=SPEED, every=EVERY
    )
    title = f"{name}, to zero"
    left = train(model, data, left, title, console, [target])
    norms = ops.convert_to_numpy(model.coupled.norms(model.coupled.variables))
    console.print(
        f"  {(norms == 0).sum()} of {len(norms)} classes are zero, "
        f"{left} steps are left, factor on the strength "
        f"{ops.convert_to_numpy(model.solver_state.strength).item():.3g}"
    )
    small = plan.apply(model, optimizer=True)
    error = prune_resnet.difference(small, model, data[2][:256])
    return small, left, int((norms == 0).sum()), error


def measured(path, name, plan, settings, console):
    """One row of the table: when the channels are removed, and in the end."""
    keras.utils.set_random_seed(0)
    start = time.perf_counter()
    data = prune_resnet.images(settings["images"])
    x_train, _, x_test, y_test = data
    steps = settings["steps"] or len(x_train) // BATCH * prune_resnet.EPOCHS
    dense = prune_resnet.compiled(files.load_model(path), steps)
    accuracy = prune_resnet.accuracy(dense, x_test, y_test)
    left, zero, error = steps, 0, 0.0
    if name in PENALTIES:
        small, left, zero, error = trained_to_zero(
            dense, plan, name, data, steps, console
        )
    else:
        small = plan.apply(dense)
        if name == "repaired":
            small, _ = knc.repair(small, plan, dense, x_train, verbose=False)
        prune_resnet.compiled(small, steps)
    row = {
        "to_zero": steps - left,
        "classes": zero,
        "params": plan.after["params"] / plan.before["params"],
        "macs": plan.after["macs"] / plan.before["macs"],
        "error": error,
        "dense": accuracy,
        "removed": prune_resnet.accuracy(small, x_test, y_test),
        "after": None,
        "minutes": (time.perf_counter() - start) / 60.0,
        "versions": prune_resnet.versions(),
    }
    yield row
    if left:
        train(small, data, left, f"{name}, small", console)
    yield {
        **row,
        "after": prune_resnet.accuracy(small, x_test, y_test),
        "minutes": (time.perf_counter() - start) / 60.0,
    }


def percent(accuracy):
    return "to be run" if accuracy is None else f"{100 * accuracy:.2f}"


def verdict(rows):
    """What the table says of training to zero, in a sentence."""
    found = {row["way"]: row for row in rows}
    trained = [row for row in rows if row["way"] in PENALTIES]
    others = [found[way] for way in ("at once", "repaired") if way in found]
    if not trained or not others:
        return []
    sides = []
    columns = {"removed": "When removed", "after": "after all steps"}
    for key, when in columns.items():
        if any(row[key] is None for row in (*trained, *others)):
            continue
        best, other = (
            max(group, key=lambda row: row[key]) for group in (trained, others)
        )
        word = "beats" if best[key] > other[key] else "does not beat"
        sides.append(
            f'{when} "{best["way"]}" ({percent(best[key])}) {word} '
            f'"{other["way"]}" ({percent(other[key])})'
        )
    return ["", f"Does training to zero pay? {'; '.join(sides)}."]


def markdown(found):
    """The table as text, with what it was made by on top."""
    settings, rows = found["settings"], found["rows"]
    chosen = "".join(
        f" --{key} {value}" for key, value in settings.items() if value
    )
    steps = settings["steps"] or "2 epochs of 390"
    lines = [
        "# ResNet-20 on CIFAR-10: plan first, then train to zero",
        "",
        f"    python benchmarks/plan_first.py --model resnet20.keras{chosen}",
        "",
        "- One plan for half of the MACs: Taylor, summed over tied channels, "
        "per MAC, `round_to=1`.",
        f"- {steps} steps in all, before and after the removal, as in "
        f"`prune_resnet.py`: batch {BATCH}, SGD {prune_resnet.RATE} to 0 by a "
        "cosine, Nesterov momentum 0.9, weight decay "
        f"{prune_resnet.DECAY}, flips and shifts. One run each, seed 0.",
        f"- The strength grows by {SPEED} every {EVERY} steps until all "
        "classes of the plan are exactly zero; it begins with "
        + ", ".join(f"{s:g} ({n})" for n, (_, s) in PENALTIES.items())
        + ". TL1 has a = 0.1, MCP is flat from 0.3 on.",
        f"- Accuracy in percent of {settings['images'] or 10_000:,} test "
        'images; "removed" is the small model at the moment of removal. Its '
        "outputs differ from those of the trained one by "
        f"{max(row['error'] for row in rows):.1e} of the greatest at most.",
        "- Minutes of two cores that had other work.",
        *(f"- {text}" for text in dict.fromkeys(r["versions"] for r in rows)),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|---|{'---:|' * (len(COLUMNS) - 1)}",
    ]
    for row in rows:
        cells = (
            row["way"],
            row["to_zero"],
            row["classes"],
            f"{row['params']:.1%}",
            f"{row['macs']:.1%}",
            *(percent(row[k]) for k in ("dense", "removed", "after")),
            f"{row['minutes']:.0f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += verdict(rows)
    return "\n".join(lines) + "\n"


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, metavar="MODEL.keras")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY"
    )
    parser.add_argument("--images", type=int, help="to try it out")
    parser.add_argument("--steps", type=int, help="to try it out")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results/plan_first.json",
        help="the JSON file; the table is written next to it",
    )
    return parser.parse_args()


def main():
    options = parsed()
    settings = {"images": options.images, "steps": options.steps}
    found = {"settings": settings, "rows": []}
    if options.out.is_file():
        found = json.loads(options.out.read_text(encoding="utf-8"))
        if found["settings"] != settings:
            raise ValueError(
                f"{options.out} was made with other settings: give another "
                f"--out. Received: {settings}"
            )
    console = Console()
    x, y, *_ = prune_resnet.images(options.images)
    plan = knc.pruning.plan(
        prune_resnet.compiled(files.load_model(options.model)),
        "taylor",
        prune_resnet.BUDGET,
        round_to=1,
        data=(x, y),
    )
    console.print(plan.headline())
    rows = {row["way"]: row for row in found["rows"]}
    left = plan.after["params"] / plan.before["params"]
    if any(row["params"] != left for row in rows.values()):
        raise ValueError(
            f"{options.out} was made with another plan: give another --out. "
            f"Received: a plan that leaves {left:.2%} of the parameters"
        )
    for name in options.ways:
        if name in rows and rows[name]["after"] is not None:
            continue
        for row in measured(options.model, name, plan, settings, console):
            rows[name] = {"way": name, **row}
            found["rows"] = [rows[way] for way in WAYS if way in rows]
            files.write_text(options.out, json.dumps(found, indent=1) + "\n")
            files.write_text(options.out.with_suffix(".md"), markdown(found))
            console.print(row)


if __name__ == "__main__":
    main()
