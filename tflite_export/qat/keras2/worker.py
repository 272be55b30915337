"""Builds, trains and converts the twin, in a process of its own.

A script, so that nothing of Keras 3 is imported: TFMOT makes the `tf.keras`
of its process that of Keras 2. `python -P worker.py FOLDER` reads
FOLDER/job.json and the arrays that `process.py` wrote, tells what happens in
lines of JSON on the standard output, and writes FOLDER/model.tflite and
FOLDER/result.json.
"""

import contextlib
import json
import math
import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# oneDNN's gradients of small convolutions write beyond their memory on
# batches of odd sizes (TensorFlow 2.21): the process ends, or numbers change.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
# Last, so that the modules beside it hide no others of their names.
sys.path.append(str(pathlib.Path(__file__).parent))

import numpy as np
import schemes
import tensorflow as tf
import tf_keras
import twin

# As near as float32 sums in another order can come.
TOLERANCE = 1e-5


def main(folder, tell):
    job = json.loads((folder / "job.json").read_text())
    tf_keras.utils.set_random_seed(job["seed"])
    model = equal_twin(job, folder, tell)
    trainer = _Trainer(job, folder, tell)
    clusters, keep_zeros = job["clusters"], job["keep_zeros"]
    if clusters:
        model = schemes.clustered(model, clusters, keep_zeros)
        trainer.fit(model, "cluster")
        model = schemes.stripped(model)
    if job["precision"] == "int8":
        model = schemes.quantized(model, keep_zeros, bool(clusters))
        trainer.fit(model, "quantize")
    tell(event="conversion")
    convert(model, job["precision"], folder / "model.tflite")
    # What there is to tell has been told.
    (folder / "result.json").write_text("{}")


def equal_twin(job, folder, tell):
    """The twin, if each layer computes what the model's does."""
    model, tensors = twin.build(
        job["nodes"], job["output"], _loaded(folder / "weights.npz")
    )
    layers = job["layers"]
    every = tf_keras.Model(model.input, tensors)
    outputs = every(np.load(folder / "sample.npy"), training=False)
    worst = 0.0
    for name, expected in zip(
        layers, _loaded(folder / "expected.npz"), strict=True
    ):
        # Some layers do nothing at inference and have no twin.
        if name not in outputs:
            continue
        # In terms of the greatest value, where that is above 1.
        scale = max(1.0, np.abs(expected).max())
        difference = np.abs(outputs[name] - expected).max() / scale
        worst = max(worst, float(difference))
        if not difference <= TOLERANCE:
            tell(event="twin", difference=float(difference), differs=name)
            sys.exit(1)
    tell(event="twin", difference=worst, differs=None)
    return model


def _loaded(path):
    with np.load(path) as file:
        for i in range(len(file.files)):
            yield file[f"arr_{i}"]


class _Trainer:
    """`fit` with the same data and settings for every stage."""

    def __init__(self, job, folder, tell):
        self.job, self.tell = job, tell
        self.data = _load(folder, "x"), _load(folder, "y")
        self.validation = None
        if (folder / "x_validation.npy").exists():
            self.validation = tuple(
                _load(folder, f"{name}_validation") for name in "xy"
            )

    def fit(self, model, stage):
        job = self.job
        steps = math.ceil(len(self.data[0]) / job["batch_size"])
        schedule = tf_keras.optimizers.schedules.CosineDecay(
            job["learning_rate"], steps * job["epochs"]
        )
        logits = not job["probabilities"]
        if job["yes_or_no"]:
            loss = tf_keras.losses.BinaryCrossentropy(from_logits=logits)
            accuracy = tf_keras.metrics.BinaryAccuracy(
                "accuracy", threshold=0.0 if logits else 0.5
            )
        else:
            loss = tf_keras.losses.SparseCategoricalCrossentropy(
                from_logits=logits
            )
            accuracy = "accuracy"
        model.compile(
            tf_keras.optimizers.Adam(schedule), loss, metrics=[accuracy]
        )
        model.fit(
            *self.data,
            batch_size=job["batch_size"],
            epochs=job["epochs"],
            validation_data=self.validation,
            verbose=0,
            callbacks=[
                tf_keras.callbacks.LambdaCallback(
                    on_epoch_begin=lambda epoch, logs: self.tell(
                        event="epoch_begins",
                        stage=stage,
                        epoch=epoch + 1,
                        epochs=job["epochs"],
                        steps=steps,
                    ),
                    on_batch_end=lambda batch, logs: self.tell(
                        event="batch_ends", done=batch + 1
                    ),
                    on_epoch_end=lambda epoch, logs: self.tell(
                        event="epoch_ends",
                        epoch=epoch + 1,
                        logs={k: float(v) for k, v in logs.items()},
                    ),
                ),
                tf_keras.callbacks.TerminateOnNaN(),
            ],
        )


def convert(model, precision, path):
    """Writes a LiteRT file with batch size 1 and builtin operations."""
    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(
        tf.TensorSpec(shape, tf.float32, name=model.input_names[0])
    )
    # Saved with the variables alone: with the model, each of its layers would
    # be traced anew.
    owner = tf.Module()
    owner.owned = model.variables
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete], owner
    )
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def _load(folder, name):
    return np.load(folder / f"{name}.npy")


@contextlib.contextmanager
def _only_json_on_stdout():
    """Yields the function that tells; what others print goes to stderr."""
    with os.fdopen(os.dup(1), "w", buffering=1) as stream:
        os.dup2(2, 1)

        def tell(**event):
            stream.write(json.dumps(event) + "\n")

        yield tell


if __name__ == "__main__":
    with _only_json_on_stdout() as tell:
        main(pathlib.Path(sys.argv[1]), tell)
