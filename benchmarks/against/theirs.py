"""Rows of Torch-Pruning, which runs in a process of its own."""

import pathlib

import numpy as np
from augmentation import BATCH
from augmentation import MEAN
from augmentation import STD

from against import nets
from against import weights
from against.bench import GRADIENT_SAMPLES
from against.bench import MOMENTUM
from against.bench import TOLERANCE
from against.bench import counts
from against.bench import images
from against.bench import rate
from tflite_export.processes import child

WORKER = pathlib.Path(__file__).with_name("torch_worker.py")
PARITY = 256


def row(bench, method, budget, seed):
    """Prunes and trains a network with Torch-Pruning; one row's figures.

    What it leaves is carried over to Keras, where its logits are compared
    and both sides are judged and counted by the same functions.

    Args:
        bench: A `Bench`.
        method: "tp_" and one of the worker's methods, then "_fast" or not.
        budget: The multiply-adds or parameters that may stay, as a dict.
        seed: An int.
    """
    given = weights.with_projections(nets.weights_of(bench.dense))
    twin = nets.build(given)
    _, _, x_test, _ = images(bench.limit)
    sample = x_test[:PARITY]
    same(nets.logits(twin, sample), nets.logits(bench.dense, sample), "1x1")
    _write(bench, given, sample, seed)
    job = {
        "method": method.removeprefix("tp_").removesuffix("_fast"),
        "budget": budget,
        "positions": nets.positions(twin),
        "seed": seed,
        "epochs": bench.epochs,
        "batch": BATCH,
        "rate": rate(method),
        "momentum": MOMENTUM,
        "gradient_samples": GRADIENT_SAMPLES,
        "runs": bench.runs,
    }
    result = child.run(
        WORKER,
        bench.folder,
        job,
        lambda line: bench.tell(line.rstrip()),
        bench.torch_python,
    )
    found, parity = {}, {}
    stages = ["unchanged", "pruned", "recalibrated"]
    stages += ["fine_tuned"] * bool(bench.epochs)
    for stage in stages:
        model = nets.build(weights.load(bench.folder / f"{stage}.npz"))
        expected = np.load(bench.folder / f"{stage}_logits.npy")
        parity[stage] = same(nets.logits(model, sample), expected, stage)
        found[stage] = bench.accuracy(model)
    bench.tell(
        "greatest relative difference of logits in Keras and torch: "
        + ", ".join(f"{stage} {d:.1e}" for stage, d in parity.items())
    )
    found.pop("unchanged")
    return {
        **counts(model),
        **found,
        **result,
        "parity": max(parity.values()),
        **bench.litert(model),
    }


def same(logits, expected, stage):
    """The difference of logits, if it is one of rounding."""
    found = nets.difference(logits, expected)
    if found > TOLERANCE:
        raise ValueError(
            f"The two networks differ. Received: {found:.1e} of the greatest "
            f"logit, stage={stage!r}"
        )
    return found


def _write(bench, given, sample, seed):
    """The worker's arrays."""
    x, y, _, _ = images(bench.limit)
    if not (bench.folder / "x.npy").exists():
        pixels = np.rint((x * STD + MEAN) * 255).astype("uint8")
        np.save(bench.folder / "x.npy", pixels)
        np.save(bench.folder / "y.npy", y)
    np.save(bench.folder / "sample.npy", sample)
    np.save(bench.folder / "chosen.npy", bench.chosen(seed))
    weights.save(bench.folder / "dense.npz", given)
