"""What `fine_tune` does by default, chosen on training images set aside.

A pruned and repaired ResNet-20 of `prune_resnet.py` is trained for one short
epoch by each choice, and for two long ones by a few. It is judged on training
images that neither the repair nor this training looks at. The dense model
knows them from its own training, so they are shown as they are and rotated at
random; how far the answers are from those of the dense model on the rotated
ones varies least between runs. A row is written as soon as it is done, and one
that is there is not done again.
"""

import argparse
import datetime
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
    {"batch": 64},
    {"optimizer": "adam", "rate": 1e-3},
)
# (images, epochs): the choices.
CHOICES = {(10_240, 1): SHORT, (47_360, 2): LONG}


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


def markdown(model, rows):
    lines = [
        "# Fine-tuning a repaired ResNet-20, by choice",
        "",
        f"    python benchmarks/recovery_choices.py --model {model}.keras",
        "",
        f"- 50% of the MACs, repaired. Usual: {json.dumps(USUAL)}, a cosine "
        f"to zero, batch {BATCH}. One run each.",
        f"- Accuracy in percent of {SET_ASIDE:,} other training images, which "
        "the dense model was trained on, as they are and rotated by up to "
        f"{360 * ROTATION:.0f} degrees; Kullback-Leibler divergence of the "
        "dense model's answers from these, on the rotated ones.",
        f"- {prune_resnet.versions()}; {datetime.date.today().isoformat()}",
        "",
        "| images, epochs | change | as they are | rotated | divergence |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        *accuracies, divergence = row["judged"]
        shown = [f"{100 * value:.2f}" for value in accuracies]
        shown.append(f"{divergence:.4f}")
        length = "{:,}, {}".format(*row["length"]) if row["length"] else ""
        lines.append(f"| {length} | {row['name']} | {' | '.join(shown)} |")
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
    small, _ = recovery.repaired(dense, (0.5,), x[seen], y[seen])
    todo = [([], "the dense model", None), ([], "repaired only", None)]
    for length, choices in CHOICES.items():
        for choice in choices:
            name = json.dumps(choice) if choice else "none"
            todo.append(([*length], name, choice))
    for length, name, choice in todo:
        if [length, name] in [[row["length"], row["name"]] for row in rows]:
            continue
        if length:
            images, epochs = length
            first = order[:images]
            model = trained(small, dense, x[first], y[first], epochs, choice)
        else:
            model = dense if name == "the dense model" else small
        found = judged(model, dense, x[aside], y[aside])
        rows.append({"length": length, "name": name, "judged": found})
        print(rows[-1], flush=True)
        files.write_text(options.out, json.dumps(rows, indent=1) + "\n")
        text = markdown(pathlib.Path(options.model).stem, rows)
        files.write_text(options.out.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
