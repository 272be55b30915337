"""Rows of pruners that only write zeros: no channel is removed.

The budget is the part of the kernels' weights that are not zero. The epochs
are the same in all.
"""

import math
import pathlib
import time

import keras
import numpy as np
from augmentation import batches
from keras import ops

from against import nets
from against import weights
from against.bench import MOMENTUM
from against.bench import RATE
from against.bench import counts
from against.bench import images
from tflite_export.processes import child
from tflite_export.qat import process

WORKER = pathlib.Path(__file__).parents[1] / "tfmot_worker.py"
# Of the plain Keras loop's L1 penalty.
STRENGTH = 1e-5


def row(bench, method, budget, seed):
    """Trains a network to zeros; the figures of one row.

    Args:
        bench: A `Bench`.
        method: "tfmot" or "keras_l1".
        budget: {"params": how many parameters may be not zero}.
        seed: An int, for the order of training.
    """
    keras.utils.set_random_seed(seed)
    if method == "tfmot":
        # Keras 2 has no twin of a padded shortcut here.
        given = weights.with_projections(nets.weights_of(bench.dense))
        model = nets.build(given)
    else:
        model = keras.models.clone_model(bench.dense)
        model.set_weights(bench.dense.get_weights())
    before = counts(model)["params"]
    dropped = before - budget["params"]
    zeros = dropped / sum(math.prod(v.shape) for v in _kernels(model))
    start = time.perf_counter()
    found = {}
    if method == "tfmot":
        _tfmot(bench, model, zeros, seed)
    else:
        found["pruned"] = _plain_loop(bench, model, zeros, seed)
    seconds = time.perf_counter() - start
    left = before - sum(
        int((ops.convert_to_numpy(v) == 0).sum()) for v in _kernels(model)
    )
    return {
        **counts(model),
        **found,
        "not_zero": left,
        "seconds": seconds,
        "fine_tuned": bench.accuracy(model),
        **bench.litert(model),
    }


def _kernels(model):
    return [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]


def _plain_loop(bench, model, zeros, seed):
    """What one writes by hand: train with L1, cut by magnitude, train on.

    The cut comes in the middle, with one threshold for all kernels. Returns
    the accuracy right after it.
    """
    kernels = _kernels(model)
    for kernel in kernels:
        kernel.regularizer = keras.regularizers.L1(STRENGTH)
    model.compile(
        bench.optimizer(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x, y, _, _ = images(bench.limit)
    given = batches(x, y, seed)
    steps = bench.steps * bench.epochs
    masks = accuracy = None
    for step in range(steps):
        if step == steps // 2:
            values = [np.abs(ops.convert_to_numpy(k)) for k in kernels]
            every = np.concatenate([v.ravel() for v in values])
            threshold = np.quantile(every, zeros)
            masks = [ops.cast(v > threshold, "float32") for v in values]
            _mask(kernels, masks)
            accuracy = bench.accuracy(model)
            for kernel in kernels:
                kernel.regularizer = None
            # The function traced so far has the penalty.
            model.make_train_function(force=True)
        model.train_on_batch(*next(given))
        if masks:
            _mask(kernels, masks)
    return accuracy


def _mask(kernels, masks):
    for kernel, mask in zip(kernels, masks, strict=True):
        kernel.assign(kernel * mask)


def _tfmot(bench, model, zeros, seed):
    """TFMOT's `prune_low_magnitude`, in Keras 2 and a process of its own."""
    x, y, x_test, _ = images(bench.limit)
    steps = bench.steps * bench.epochs
    settings = {
        "zeros": zeros,
        "seed": seed,
        "epochs": bench.epochs,
        "steps": bench.steps,
        "from_logits": True,
        "optimizer": {
            "class_name": "SGD",
            "config": {
                "learning_rate": {
                    "class_name": "CosineDecay",
                    "config": {
                        "initial_learning_rate": RATE,
                        "decay_steps": steps,
                    },
                },
                "momentum": MOMENTUM,
                "nesterov": True,
            },
        },
    }
    folder = bench.folder / "tfmot"
    folder.mkdir(exist_ok=True)
    job = process.write(folder, model, x_test[:2], settings, {"x": x, "y": y})
    child.run(WORKER, folder, job, lambda line: bench.tell(line.rstrip()))
    for name, arrays in weights.load(folder / "pruned.npz").items():
        model.get_layer(name).set_weights(arrays)
