"""What a training step costs, against `keras.Model` with L2 on the same net.

    python benchmarks/train_step.py [--rounds 40] [--steps 10] [--out FILE]

Everything runs in this one process. In each round every model trains
`--steps` steps on the same batch, in turn, so that what disturbs the machine
disturbs all; the figure is the median over rounds of a model's time over that
of the L2 model in the same round.
"""

import argparse
import json
import statistics
import time

import keras
import numpy as np
from keras import layers
from rich.console import Console
from rich.table import Table

import keras_nonconvex as knc
from keras_nonconvex import files

BATCH = 128
RULES = {
    "GroupLasso": knc.GroupLasso(1e-4),
    "SparseGroupTL1": knc.SparseGroupTL1(1e-5, group_strength=1e-4),
    "SparseGroupMCP": knc.SparseGroupMCP(1e-5, group_strength=1e-4),
    "GroupSparseEnvelope": knc.GroupSparseEnvelope("50%", 1e-4),
}
SOLVERS = {
    "half-space": knc.solvers.ProximalGradient(half_space=0.0),
    "splitting": knc.solvers.VariableSplitting(),
}


def cnn6():
    """Six 3x3 convolutions, 32 to 128 filters, on 32 x 32 colour images."""
    inputs = keras.Input((32, 32, 3))
    x = inputs
    for filters in (32, 64, 128):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


NETWORKS = {"LeNet-5": knc.models.lenet5, "6-layer CNN": cnn6}


def variants(build):
    """name -> a compiled model: the baseline first."""
    plain = keras.models.clone_model(build())
    knc.attach(plain, keras.regularizers.L2(1e-4))
    models = {"keras.Model, L2": keras.Model(plain.inputs, plain.outputs)}
    for name, reg in RULES.items():
        models[name] = knc.attach(build(), reg)
    for name in SOLVERS:
        models[name] = knc.attach(build(), RULES["SparseGroupTL1"])
    for name, model in models.items():
        options = {"solver": SOLVERS[name]} if name in SOLVERS else {}
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            "sparse_categorical_crossentropy",
            **options,
        )
    return models


def ratios(models, steps, rounds):
    """name -> (seconds per step, [ratio to the first, per round])."""
    rng = np.random.default_rng(0)
    first = next(iter(models.values()))
    shape = (BATCH, *first.input_shape[1:])
    x = keras.ops.convert_to_tensor(rng.random(shape, "float32"))
    y = keras.ops.convert_to_tensor(rng.integers(0, 10, BATCH))

    def run(model):
        start = time.perf_counter()
        for _ in range(steps):
            model.train_on_batch(x, y)
        return (time.perf_counter() - start) / steps

    for model in models.values():
        run(model)
    seconds = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            seconds[name].append(run(model))
    (_, base), *_ = seconds.items()
    return {
        name: (min(times), [t / b for t, b in zip(times, base, strict=True)])
        for name, times in seconds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--out", help="write the figures to this JSON file")
    options = parser.parse_args()
    console, found = Console(), {}
    for network in options.networks:
        rows = ratios(
            variants(NETWORKS[network]), options.steps, options.rounds
        )
        table = Table(title=f"{network}, batch {BATCH}, a step")
        for column in ("model", "ms", "ratio", "quartiles"):
            table.add_column(
                column, justify="left" if column == "model" else "right"
            )
        found[network] = {}
        for name, (seconds, ratio) in rows.items():
            low, median, high = statistics.quantiles(ratio, n=4)
            found[network][name] = {"ms": 1e3 * seconds, "ratio": median}
            table.add_row(
                name,
                f"{1e3 * seconds:.2f}",
                f"{median:.3f}",
                f"{low:.3f} to {high:.3f}",
            )
        console.print(table)
    if options.out:
        files.write_text(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
