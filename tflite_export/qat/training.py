"""Quantization-aware training, as the user's process sees it."""

import dataclasses
import importlib.util
import io
import pathlib
import shutil
import tempfile
import zipfile

import numpy as np
from rich.console import Console

from keras_nonconvex import checks
from keras_nonconvex import data_loss
from keras_nonconvex import files
from keras_nonconvex import graph
from keras_nonconvex import terminal
from tflite_export import flatfile
from tflite_export import metadata as metadata_
from tflite_export import runtime
from tflite_export.qat import process

PRECISIONS = ("int8", "float32")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained and converted model.

    Attributes:
        path, precision, bytes: The LiteRT file.
        zipped_bytes: Its size after zip, as it travels to a phone: only here
            do clusters and zeros make it smaller.
        ops: Operator name -> how often it stands in the file.
        history: One dict per epoch: stage, epoch, loss, accuracy and, with
            validation data, val_loss and val_accuracy.
        accuracy: Of the file on the validation data, or None.
        twin_difference: The greatest difference between the model and its
            twin before training, of all layers.
    """

    path: str
    precision: str
    bytes: int
    zipped_bytes: int
    ops: dict
    history: list
    accuracy: float | None
    twin_difference: float

    def __str__(self):
        text = (
            f"{self.path}: {self.precision}, {self.bytes:,} bytes, "
            f"{self.zipped_bytes:,} zipped"
        )
        if self.accuracy is not None:
            text += f", accuracy {self.accuracy:.2%}"
        return text


def train(
    model,
    x,
    y,
    path,
    epochs=3,
    batch_size=64,
    learning_rate=3e-4,
    keep_zeros=False,
    clusters=None,
    precision="int8",
    validation_data=None,
    metadata=None,
    seed=0,
    console=None,
):
    """Fine-tunes a copy of a classifier under quantization and converts it.

    The model is rebuilt in `tf_keras` in a process of its own, where
    tensorflow-model-optimization trains it with fake quantization; neither
    the model nor the `tf.keras` of this process changes. Penalties and
    constraints of the model do not act on the copy.

    Args:
        model: A built functional or Sequential Keras model that ends in a
            softmax or in logits.
        x, y: Training inputs (n, ...) and integer labels (n,).
        path: Where to write; must end in ".tflite". Written atomically.
        epochs: Of each stage; with `clusters` and "int8" there are two.
        batch_size: Training batch.
        learning_rate: Of Adam, at the start; it falls to zero by a cosine.
        keep_zeros: Whether single weights of Conv2D and Dense layers that
            are zero stay exactly zero.
        clusters: How many different values a kernel of Conv2D and Dense
            layers may have, such as 16; None for any.
        precision: "int8" with float input and output, or "float32" to
            cluster only.
        validation_data: (x, y) on which the file is judged, or None.
        metadata: A `Metadata` with class names and normalisation to put into
            the file.
        seed: Of everything random.
        console: A rich console; the terminal if None.

    Returns:
        A `Trained`.
    """
    path = pathlib.Path(path)
    _check_installed()
    graph.check_functional(model)
    _check_settings(path, epochs, batch_size, learning_rate)
    _check_scheme(keep_zeros, clusters, precision)
    _check_data(model, x, y, "x")
    data = {"x": x, "y": y}
    if validation_data is not None:
        x_validation, y_validation = validation_data
        _check_data(model, x_validation, y_validation, "validation_data")
        data.update(x_validation=x_validation, y_validation=y_validation)
    probabilities = data_loss.gives_probabilities(model)
    if probabilities is None:
        raise ValueError(
            "The model must end in a softmax or in logits. "
            f"Received: model={model.name!r}"
        )
    request = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "keep_zeros": keep_zeros,
        "clusters": clusters,
        "precision": precision,
        "probabilities": probabilities,
        "seed": seed,
    }
    console = console or Console()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        process.write(folder, model, np.asarray(x[:2]), request, data)
        story = process.run(folder, model, console)
        with files.replacing(path) as temporary:
            shutil.copyfile(folder / "model.tflite", temporary)
            if metadata is not None:
                metadata_.write(temporary, metadata)
    accuracy = None
    if validation_data is not None:
        with terminal.bar(
            console, f"{path.name}: accuracy", len(x_validation)
        ) as update:
            found = runtime.predict(path, np.asarray(x_validation), update)
        accuracy = float((found.argmax(-1) == y_validation).mean())
    return Trained(
        path=str(path),
        precision=precision,
        bytes=path.stat().st_size,
        zipped_bytes=zipped_bytes(path),
        ops=flatfile.operations(flatfile.read(path)),
        history=story.history,
        accuracy=accuracy,
        twin_difference=story.twin_difference,
    )


def zipped_bytes(path):
    """The size of a file in a zip archive, as apps are packed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, pathlib.Path(path).name)
    return len(buffer.getvalue())


def _check_installed():
    for package in ("tensorflow_model_optimization", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(
                "Quantization-aware training needs more packages: "
                "pip install 'keras-nonconvex[qat]'. "
                f"Received: no package '{package}'"
            )


def _check_settings(path, epochs, batch_size, learning_rate):
    if path.suffix != ".tflite":
        raise ValueError(
            f"Argument `path` must end in '.tflite'. Received: path={path}"
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"Argument `{name}` must be a whole number from 1 on. "
                f"Received: {name}={value!r}"
            )
    if not learning_rate > 0:
        raise ValueError(
            "Argument `learning_rate` must be above 0. "
            f"Received: learning_rate={learning_rate!r}"
        )


def _check_scheme(keep_zeros, clusters, precision):
    if precision not in PRECISIONS:
        raise ValueError(
            f"Argument `precision` must be one of {', '.join(PRECISIONS)}. "
            f"Received: precision={precision!r}"
        )
    least = 3 if keep_zeros else 2
    if clusters is not None and not (
        isinstance(clusters, int) and least <= clusters <= 256
    ):
        raise ValueError(
            f"Argument `clusters` must be a whole number from {least} to "
            f"256, or None. Received: clusters={clusters!r}"
        )
    if precision == "float32" and clusters is None:
        raise ValueError(
            "In float32 there is nothing to do but to cluster: give "
            "`clusters`, or use tflite_export.convert. "
            "Received: precision='float32' with clusters=None"
        )


def _check_data(model, x, y, name):
    checks.samples(name, x, model.inputs[0].shape[1:])
    classes = model.output_shape[-1]
    y = np.asarray(y)
    whole = np.issubdtype(y.dtype, np.integer) and y.shape == (len(x),)
    if not whole or y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"The labels of `{name}` must be {len(x)} whole numbers from 0 "
            f"to {classes - 1}. Received: {y.dtype} of shape {y.shape}"
        )
