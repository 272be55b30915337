"""Strategies of `compress`: several devices, or several machines."""

import json
import os

import keras

STRATEGIES = ("mirrored", "multi-worker")


def get(name):
    """A `tf.distribute` strategy by its name.

    "mirrored" trains on all GPUs of this machine. "multi-worker" trains on
    the machines of the environment variable TF_CONFIG, each of which runs the
    same command. Make it before anything else is done with TensorFlow.
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
    """The index of this process in TF_CONFIG; None where it has none."""
    try:
        return int(json.loads(os.environ.get("TF_CONFIG", ""))["task"]["index"])
    except (ValueError, KeyError, TypeError):
        return None
