"""Strategies of `compress`: training on several devices or machines."""

import json
import os

import keras

__all__ = ["STRATEGIES", "get", "worker"]

STRATEGIES = ("mirrored", "multi-worker")


def get(name):
    """Makes a `tf.distribute` strategy.

    Call it before anything else is done with TensorFlow.

    Args:
        name: `"mirrored"` trains on all GPUs of this machine. `"multi-worker"`
            trains on the machines that the environment variable `TF_CONFIG`
            lists, each of which runs the same command.

    Returns:
        A `tf.distribute.Strategy`, for the argument `strategy` of `compress`.

    Raises:
        ValueError: The name is unknown, the Keras backend is not TensorFlow,
            `TF_CONFIG` is missing, or TensorFlow was used before.

    Example:
    ```python
    strategy = knc.distribution.get("mirrored")
    knc.compress("demo", strategy=strategy)
    ```
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"Argument `strategy` must be one of {', '.join(STRATEGIES)} or a "
            f"tf.distribute strategy. Received: strategy={name!r}"
        )
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Argument `strategy` needs the TensorFlow backend; on JAX use "
            "keras.distribution. Received: KERAS_BACKEND="
            f"{keras.backend.backend()!r}"
        )
    import tensorflow as tf

    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if worker() is None:
        raise ValueError(
            "strategy='multi-worker' needs the environment variable "
            "TF_CONFIG, JSON with `cluster` and `task`, on each machine. "
            f"Received: TF_CONFIG={os.environ.get('TF_CONFIG')!r}"
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            "strategy='multi-worker' must be made before TensorFlow is used: "
            "call knc.distribution.get('multi-worker') first and "
            f"pass what it returns. Received: {error}"
        ) from error


def worker():
    """The index of this process among the machines of `TF_CONFIG`.

    Returns:
        An integer, 0 for the first worker. `None` without `TF_CONFIG`.
    """
    try:
        return int(json.loads(os.environ.get("TF_CONFIG", ""))["task"]["index"])
    except (ValueError, KeyError, TypeError):
        return None
