"""How long it takes to trace, plan and rebuild real architectures.

    python benchmarks/prune_time.py

Prints one line per network of keras.applications (random weights, 60 % of the
parameters stay): seconds of the plan, the trace alone, and the rebuilt model,
and the difference between rebuilt and masked model.
"""

import argparse
import time

import keras
import numpy as np

from keras_nonconvex import pruning
from keras_nonconvex.pruning.channels.trace import Trace

NETWORKS = (
    "MobileNetV2",
    "EfficientNetB0",
    "DenseNet121",
    "ResNet50",
    "ResNet101",
    "ResNet152",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--budget", type=float, default=0.6)
    options = parser.parse_args()
    print(
        "| network | layers | trace, s | trace + plan, s | rebuild, s "
        "| ms per layer | params left | difference |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.networks:
        model = getattr(keras.applications, name)(
            weights=None, classifier_activation=None
        )
        randomize(model)
        times = [time.perf_counter()]
        Trace(model)
        times.append(time.perf_counter())
        plan = pruning.plan(model, budget={"params": options.budget})
        times.append(time.perf_counter())
        small = plan.apply(model)
        times.append(time.perf_counter())
        trace, planning, rebuild = np.diff(times)
        layers = len(model.layers)
        left = plan.after["params"] / plan.before["params"]
        print(
            f"| {name} | {layers} | {trace:.2f} | {planning:.2f} "
            f"| {rebuild:.2f} | {1e3 * (planning + rebuild) / layers:.1f} "
            f"| {left:.1%} | {difference(plan.mask(model), small):.1e} |",
            flush=True,
        )


def randomize(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(0.1 * rng.normal(size=weight.shape))


def difference(first, second):
    shape = (1, *first.input_shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    a, b = (keras.ops.convert_to_numpy(m(x)) for m in (first, second))
    return np.abs(a - b).max() / np.abs(a).max()


if __name__ == "__main__":
    main()
