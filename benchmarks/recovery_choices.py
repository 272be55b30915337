"""How to plan and to fine-tune, chosen on training images set aside.

A ResNet-20 of `prune_resnet.py` is pruned and repaired by plans of several
kinds. The first of them is trained for one short epoch by each choice of what
`fine_tune` does, and for two long ones by a few. All are judged on training
images that neither the repair nor this training looks at. The dense model
knows them from its own training, so they are shown as they are and rotated at
random; how far the answers are from those of the dense model on the rotated
ones varies least between runs. A row is written as soon as it is done, and one
that is there is not done again.
"""

import argparse
import datetime
import functools
import json
import pathlib

import keras
import numpy as np
import prune_resnet
import recovery
from augmentation import BATCH
from augmentation import batches
from keras.optimizers import schedules
from scipy.special import log_softmax

import keras_nonconvex as knc
from keras_nonconvex import files
from keras_nonconvex.pruning import criteria

SET_ASIDE = 2500
# In parts of a whole turn.
ROTATION = 0.06

# What is tried: changes of what is usual.
USUAL = {"optimizer": "sgd", "rate": 0.01, "weight": 0.9, "T": 3.0}
SHORT = (
    {},
    {"rate": 0.003},
    {"rate": 0.03},
    {"rate": 0.1},
    {"batch": 64},
    {"batch": 32},
    {"weight": 0.5},
    {"weight": 1.0},
    {"T": 6.0},
    {"optimizer": "adam", "rate": 1e-3},
    {"optimizer": "adam", "rate": 3e-4},
)
LONG = (
    {},
    {"rate": 0.02},
    {"rate": 0.005},
    {"rate": 0.0025},
    {"weight": 1.0},
    {"T": 2.0},
    {"T": 4.0},
    {"T": 6.0},
    {"T": 10.0},
    {"T": 20.0},
    {"batch": 64},
    {"optimizer": "adam", "rate": 1e-3},
)
# What is planned by: the criterion and how many images it looks at; and in
# which steps, as parts of the MACs. The first one is fine-tuned.
PLANS = (
    ("taylor", 1024, (0.5,)),
    ("output_change", 1024, (0.5,)),
    ("output_change", 4000, (0.5,)),
    ("output_change", 1024, (0.7, 0.5)),
    ("output_change", 1024, (0.8, 0.65, 0.5)),
    ("taylor", 1024, (0.8, 0.65, 0.5)),
    ("taylor", 1024, (0.333,)),
    ("output_change", 1024, (0.333,)),
    ("output_change", 1024, (0.5, 0.333)),
    ("taylor", 1024, (0.65, 0.46, 0.333)),
    ("taylor", 4000, (0.65, 0.46, 0.333)),
    ("output_change", 1024, (0.65, 0.46, 0.333)),
    ("output_change", 4000, (0.65, 0.46, 0.333)),
    ("taylor", 1024, (0.8, 0.65, 0.55, 0.45, 0.38, 0.333)),
    ("output_change", 1024, (0.8, 0.65, 0.55, 0.45, 0.38, 0.333)),
)
# (images, epochs): the choices.
CHOICES = {(10_240, 1): SHORT, (47_360, 2): LONG}


def planned(dense, name, samples, steps, x, y):
    """A repaired small model."""
    data = (x, y) if name == "taylor" else x
    criterion = criteria.REGISTRY[name](data, samples, batch_size=16)
    return recovery.repaired(dense, steps, criterion, x)[0]


def optimizer(name, rate, steps):
    falling = schedules.CosineDecay(rate, steps)
    if name == "sgd":
        return keras.optimizers.SGD(falling, momentum=0.9, nesterov=True)
    return keras.optimizers.Adam(falling)


def judged(model, dense, x, y):
    """[accuracy on the images as they are, on rotated ones; divergence]."""
    rotate = keras.layers.RandomRotation(ROTATION, fill_mode="nearest", seed=3)
    rotated = np.asarray(rotate(x, training=True))
    found = [prune_resnet.accuracy(model, images, y) for images in (x, rotated)]
    wanted, answers = (
        m.predict(rotated, 250, verbose=0).astype("float64")
        for m in (dense, model)
    )
    wanted, answers = (log_softmax(y, axis=1) for y in (wanted, answers))
    divergence = np.sum(np.exp(wanted) * (wanted - answers), axis=1).mean()
    return [*found, float(divergence)]


def trained(small, dense, x, y, epochs, choice):
    """A copy of the small model after its epochs."""
    keras.utils.set_random_seed(0)
    copy = keras.models.clone_model(small)
    copy.set_weights(small.get_weights())
    copy.compile(loss=dense.loss, jit_compile=False)
    settings = {**USUAL, **choice}
    batch = settings.get("batch", BATCH)
    steps = len(x) // batch
    knc.fine_tune(
        copy,
        batches(x, y, size=batch),
        epochs=epochs,
        optimizer=optimizer(
            settings["optimizer"], settings["rate"], epochs * steps
        ),
        teacher=dense,
        teacher_weight=settings["weight"],
        temperature=settings["T"],
        steps_per_epoch=steps,
        verbose=0,
    )
    return copy


def named(name, samples, steps):
    """A plan as its row calls it."""
    parts = ", ".join(f"{100 * step:g}%" for step in steps)
    return f"{name} of {samples:,}: {parts}"


def line(row):
    *accuracies, divergence = row["judged"]
    cells = [f"{100 * value:.2f}" for value in accuracies]
    length = ["{:,}, {}".format(*row["length"])] if row["length"] else []
    cells = [*length, row["name"], *cells, f"{divergence:.4f}"]
    return f"| {' | '.join(cells)} |"


def markdown(model, rows):
    lines = [
        "# Planning and fine-tuning ResNet-20, by choice",
        "",
        f"    python benchmarks/recovery_choices.py --model {model}.keras",
        "",
        f"- Accuracy in percent of {SET_ASIDE:,} training images set aside, "
        "which the dense model was trained on, as they are and rotated by up "
        f"to {360 * ROTATION:.0f} degrees; Kullback-Leibler divergence of the "
        "dense model's answers from these, on the rotated ones. One run each.",
        f"- {prune_resnet.versions()}; {datetime.date.today().isoformat()}",
        "",
        "## Planned and repaired, not trained",
        "",
        "Criterion of how many images: parts of the MACs. After each step a "
        f"repair with {recovery.LOOKED_AT:,} images.",
        "",
        "| plan | as they are | rotated | divergence |",
        "|---|---:|---:|---:|",
        *(line(row) for row in rows if not row["length"]),
        "",
        "## Fine-tuned",
        "",
        f"From {named(*PLANS[0])}. Usual: {json.dumps(USUAL)}, a cosine to "
        f"zero, batch {BATCH}.",
        "",
        "| images, epochs | change | as they are | rotated | divergence |",
        "|---|---|---:|---:|---:|",
        *(line(row) for row in rows if row["length"]),
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="resnet20.keras")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "results/recovery_choices.json",
        help="the JSON file; the table is written next to it",
    )
    options = parser.parse_args()
    rows = []
    if options.out.is_file():
        rows = json.loads(options.out.read_text(encoding="utf-8"))
    x, y, _, _ = prune_resnet.images(None)
    order = np.random.default_rng(0).permutation(len(x))
    aside = order[-SET_ASIDE:]
    dense = prune_resnet.compiled(files.load_model(options.model))
    dense.compile(loss=dense.loss, metrics=["accuracy"], jit_compile=False)
    seen = order[: recovery.LOOKED_AT]

    @functools.cache
    def repaired(plan):
        return planned(dense, *plan, x[seen], y[seen])

    def fine_tuned(images, epochs, choice):
        shown = order[:images]
        small = repaired(PLANS[0])
        return trained(small, dense, x[shown], y[shown], epochs, choice)

    todo = [([], "the dense model", lambda: dense)]
    for plan in PLANS:
        todo.append(([], named(*plan), functools.partial(repaired, plan)))
    for length, choices in CHOICES.items():
        for choice in choices:
            name = json.dumps(choice) if choice else "none"
            make = functools.partial(fine_tuned, *length, choice)
            todo.append(([*length], name, make))
    for length, name, make in todo:
        if [length, name] in [[row["length"], row["name"]] for row in rows]:
            continue
        model = make()
        found = judged(model, dense, x[aside], y[aside])
        rows.append({"length": length, "name": name, "judged": found})
        print(rows[-1], flush=True)
        files.write_text(options.out, json.dumps(rows, indent=1) + "\n")
        text = markdown(pathlib.Path(options.model).stem, rows)
        files.write_text(options.out.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
