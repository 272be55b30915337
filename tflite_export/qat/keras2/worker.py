"""Builds, trains and converts the twin, in a process of its own.

    python worker.py FOLDER

Run as a file, so that nothing of Keras 3 is imported: TFMOT makes the
`tf.keras` of its process that of Keras 2. FOLDER has what `process.py` wrote;
what happens is told in lines of JSON on the standard output.
"""

import contextlib
import json
import math
import os
import pathlib
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import schemes
import tensorflow as tf
import tf_keras
import twin

# As near as float32 sums in another order can come.
TOLERANCE = 1e-5


def main(folder, tell):
    request = json.loads((folder / "request.json").read_text())
    tf_keras.utils.set_random_seed(request["seed"])
    model = equal_twin(request, folder, tell)
    trainer = _Trainer(request, folder, tell)
    clusters, keep_zeros = request["clusters"], request["keep_zeros"]
    if clusters:
        model = schemes.clustered(model, clusters, keep_zeros)
        trainer.fit(model, "cluster")
        model = schemes.stripped(model)
    if request["precision"] == "int8":
        model = schemes.quantized(model, keep_zeros, bool(clusters))
        trainer.fit(model, "quantize")
    tell(event="conversion")
    convert(model, request["precision"], folder / "model.tflite")


def equal_twin(request, folder, tell):
    """The twin, if each layer computes what the model's does."""
    model, tensors = twin.build(
        request["nodes"], request["output"], _loaded(folder / "weights.npz")
    )
    layers = request["layers"]
    every = tf_keras.Model(model.input, tensors)
    found = every(np.load(folder / "sample.npy"), training=False)
    worst = 0.0
    for name, expected in zip(
        layers, _loaded(folder / "expected.npz"), strict=True
    ):
        if name not in found:  # It does nothing at inference.
            continue
        # In terms of the greatest value, where that is above 1.
        scale = max(1.0, np.abs(expected).max())
        difference = np.abs(found[name] - expected).max() / scale
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

    def __init__(self, request, folder, tell):
        self.request, self.tell = request, tell
        self.data = _load(folder, "x"), _load(folder, "y")
        self.validation = None
        if (folder / "x_validation.npy").exists():
            self.validation = tuple(
                _load(folder, f"{name}_validation") for name in "xy"
            )

    def fit(self, model, stage):
        request = self.request
        steps = math.ceil(len(self.data[0]) / request["batch_size"])
        schedule = tf_keras.optimizers.schedules.CosineDecay(
            request["learning_rate"], steps * request["epochs"]
        )
        model.compile(
            tf_keras.optimizers.Adam(schedule),
            tf_keras.losses.SparseCategoricalCrossentropy(
                from_logits=not request["probabilities"]
            ),
            metrics=["accuracy"],
        )
        model.fit(
            *self.data,
            batch_size=request["batch_size"],
            epochs=request["epochs"],
            validation_data=self.validation,
            verbose=0,
            callbacks=[
                tf_keras.callbacks.LambdaCallback(
                    on_epoch_begin=lambda epoch, logs: self.tell(
                        event="epoch_begins",
                        stage=stage,
                        epoch=epoch + 1,
                        epochs=request["epochs"],
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
