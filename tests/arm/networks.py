"""The files that `make arm` runs: networks of the papers, whole and pruned."""

import warnings

import keras

import keras_nonconvex as knc
import tflite_export
from arm import images
from keras_nonconvex import datasets
from tflite_export import conversion


def write(folder, progress=lambda done: None):
    """Trains, prunes and converts; returns the paths written.

    Args:
        folder: Where to; older LiteRT files in it are removed.
        progress: Called with the number of files that are done.
    """
    for old in folder.glob("*.tflite"):
        old.unlink()
    keras.utils.set_random_seed(0)
    data = datasets.load("digits")
    cuttings, labels = images.photographs(32, 32, 512)
    made = []
    for model, x, y in (
        (knc.models.lenet5(), data.x_train, data.y_train),
        (_logits(knc.models.resnet(20)), cuttings, labels),
        (_logits(knc.models.mobilenet_v1(alpha=0.25)), cuttings, labels),
    ):
        _train(model, x, y)
        small = knc.prune(model, "group_norm", {"macs": 0.5}, round_to=8)
        _train(small, x, y)
        for size, network in (("dense", model), ("small", small)):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "int16x8 files are precise")
                made += tflite_export.convert(
                    network,
                    folder / f"{model.name}.{size}.{{precision}}.tflite",
                    conversion.PRECISIONS,
                    x[:100],
                    isolate=False,
                )
            progress(len(made))
    return sorted(folder.glob("*.tflite"))


def _train(model, x, y):
    # Long enough for weights and batch statistics as a network in use has.
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=model.layers[-1].activation is keras.activations.linear
    )
    model.compile("adam", loss)
    model.fit(x, y, batch_size=32, epochs=2, verbose=0)


def _logits(model):
    """The model without its softmax: int8 must then be equal bit for bit."""
    model.layers[-1].activation = keras.activations.linear
    return model
