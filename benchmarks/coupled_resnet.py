"""ResNet-20 on CIFAR-10 loses whole channel classes in training.

    python benchmarks/coupled_resnet.py --model resnet20.keras

The model is a trained CIFAR-10 ResNet as in `prune_resnet.py`, whose data this
uses. It is trained for a few epochs with `CoupledGroups`;
`plan` then removes what is exactly zero, and the small model is compared with
the large one on test images.
"""

import argparse
import pathlib

import keras
import numpy as np
from augmentation import MEAN
from augmentation import STD

import keras_nonconvex as knc
from keras_nonconvex import datasets
from keras_nonconvex import files

# Classes of a smaller norm send next to nothing.
DEAD = 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, metavar="MODEL.keras")
    parser.add_argument("--strength", type=float, default=7e-4)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--out", default="benchmarks/results")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    data = datasets.load("cifar10")
    x, y = (data.x_train[: options.images] - MEAN) / STD, data.y_train
    x_test, y_test = (data.x_test - MEAN) / STD, data.y_test
    dense = files.load_model(options.model)
    model = knc.attach(dense, {})
    coupled = knc.CoupledGroups(model, knc.penalties.L1(), options.strength)
    steps = options.epochs * (len(x) // 128)
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(options.rate, steps),
            momentum=0.9,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        coupled=coupled,
    )
    rows = [("dense", *measured(model, x_test, y_test))]
    dense_norms = norms_of(model)
    model.fit(x, y[: len(x)], batch_size=128, epochs=options.epochs, verbose=2)
    rows.append(("trained", *measured(model, x_test, y_test)))
    norms = norms_of(model)
    dead = (norms == 0) & (dense_norms < DEAD)
    plan = knc.pruning.plan(model)
    print(plan)
    small = plan.apply(model)
    small.compile(metrics=["accuracy"], loss=model.loss)
    rows.append(("removed", *measured(small, x_test, y_test)))
    a, b = (m.predict(x_test[:1000], verbose=0) for m in (model, small))
    difference = np.abs(a - b).max() / np.abs(a).max()
    lines = [
        "# CoupledGroups on ResNet-20, CIFAR-10",
        "",
        "    python benchmarks/coupled_resnet.py --model resnet20.keras "
        f"--strength {options.strength} --rate {options.rate} "
        f"--epochs {options.epochs} --images {options.images}",
        "",
        f"{(norms == 0).sum()} of {len(norms)} classes of coupled channels "
        f"are exactly zero after training. {dead.sum()} of them were dead in "
        "the dense net already: their norms there are at most "
        f"{dense_norms[dead].max(initial=0.0):.3f}, those of all others at "
        f"least {dense_norms[dense_norms >= DEAD].min():.2f}. "
        "The small model's logits differ "
        f"from the large one's by {difference:.1e} of their greatest, on "
        f"1,000 test images. Whole layers removed: "
        f"{', '.join(plan.removed) or 'none'}.",
        "",
        "| model | parameters | MACs | test accuracy |",
        "|---|---|---|---|",
        *(
            f"| {name} | {params:,} | {macs:,} | {accuracy:.2%} |"
            for name, params, macs, accuracy in rows
        ),
        "",
    ]
    print("\n".join(lines))
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    files.write_text(out / "coupled_resnet.md", "\n".join(lines))


def norms_of(model):
    """The norm of each class of coupled channels."""
    coupled = model.coupled
    return keras.ops.convert_to_numpy(coupled.norms(coupled.variables))


def measured(model, x, y):
    logits = model.predict(x, batch_size=500, verbose=0)
    summary = knc.summary(model)
    return summary.params, summary.macs, (logits.argmax(-1) == y).mean()


if __name__ == "__main__":
    main()
