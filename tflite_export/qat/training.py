"""Quantization-aware training, as the user's process sees it."""

import dataclasses
import importlib.util
import io
import pathlib
import shutil
import zipfile

import numpy as np
from rich.console import Console

from keras_nonconvex import checks
from keras_nonconvex import files
from keras_nonconvex import graph
from keras_nonconvex import outputs
from keras_nonconvex import samples
from keras_nonconvex import terminal
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export.metadata import write
from tflite_export.qat import description
from tflite_export.qat import process

# The precisions that are trained here.
PRECISIONS = ("int8", "float32")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained and converted model.

    Attributes:
        path: str. The LiteRT file.
        precision: str. Its precision, "int8" or "float32".
        bytes: int. Its size in bytes.
        zipped_bytes: int. Its size after zip, as it travels to a phone: only
            this size becomes smaller by clusters and zeros.
        ops: dict. {operator name: how often the file has it}.
        history: list of one dict per epoch: stage, epoch, loss, accuracy and,
            with validation data, val_loss and val_accuracy.
        accuracy: float. The file's accuracy on the validation data, or
            `None` without such data.
        twin_difference: float. The greatest difference between an output of
            one of the model's layers and that of its twin, before training,
            as a fraction of the output's greatest value where that is
            above 1.
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
    the model nor the `tf.keras` of this process changes. Penalties,
    constraints and random changes of images, such as `RandomFlip`, which are
    layers of the model, do not act on the copy.

    Args:
        model: A built functional or Sequential Keras model with one input
            whose loss or last layer tells that it is a classifier: one that
            ends in a softmax, in a sigmoid or in logits.
        x: Training inputs: an array `(n, ...)`; a `tf.data.Dataset`,
            `PyDataset` or generator of (inputs, labels); or the name or
            folder of a data set. All of it is read.
        y: Labels from 0 on, whole numbers `(n,)` or `(n, 1)` or one-hot;
            zeros and ones `(n,)` or `(n, units)` where each unit says yes or
            no; `None` where `x` has labels.
        path: str or path. Where to write; it must end in `".tflite"`. The
            file is written whole or not at all, and replaces one of the same
            name.
        epochs: int >= 1. The epochs of each stage; with `clusters` and
            `"int8"` there are two stages, else one. Defaults to `3`.
        batch_size: int >= 1. The training batch. Defaults to `64`.
        learning_rate: float > 0. The first learning rate of Adam; it falls to
            zero by a cosine. Defaults to `3e-4`.
        keep_zeros: bool. Whether single weights of Conv2D and Dense layers
            that are zero stay exactly zero. Defaults to `False`.
        clusters: int from 2 (3 with `keep_zeros`) to 256. How many different
            values a kernel of a Conv2D or Dense layer may have, such as 16.
            Defaults to `None`: any number.
        precision: str. `"int8"` with float input and output, or `"float32"`
            to cluster only. Defaults to `"int8"`.
        validation_data: Pair `(x, y)`, or data of another form as for `x`,
            on which the file's accuracy is measured. Defaults to `None`.
        metadata: A `Metadata` with class names and normalisation to put into
            the file. Defaults to `None`.
        seed: int. The seed of everything random. Defaults to `0`.
        console: A rich console that shows the progress. Defaults to `None`:
            the terminal.

    Returns:
        A `Trained`.

    Raises:
        ValueError: An argument is wrong, a layer has no twin (the message
            names it), or a layer of the twin computes something else.
        ModuleNotFoundError: `keras-nonconvex[qat]` is not installed.

    Example:
    >>> from tflite_export import qat
    >>> trained = qat.train(
    ...     small,
    ...     x_train,
    ...     y_train,
    ...     "small.int8.tflite",
    ...     epochs=2,
    ...     validation_data=(x_test, y_test),
    ... )
    >>> print(trained.accuracy)
    """
    path = pathlib.Path(path)
    check_installed()
    _check_settings(path, epochs, batch_size, learning_rate)
    _check_scheme(keep_zeros, clusters, precision)
    check_model(model)
    (head,) = outputs.of(model)
    if not head.decides:
        raise ValueError(
            "The model must end in a softmax, in a sigmoid or in logits; "
            "compile it with its loss where the last layer does not tell. "
            f"Received: model={model.name!r}"
        )
    x, y = _labelled(model, head, x, y, "x")
    data = {"x": x, "y": y}
    if validation_data is not None:
        x_validation, y_validation = _labelled(
            model,
            head,
            *samples.pair(validation_data, "validation_data"),
            "validation_data",
            "test",
        )
        data.update(x_validation=x_validation, y_validation=y_validation)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "keep_zeros": keep_zeros,
        "clusters": clusters,
        "precision": precision,
        "yes_or_no": head.kind == outputs.YES_NO,
        "probabilities": head.probabilities,
        "seed": seed,
    }
    console = console or Console()
    with files.scratch() as folder:
        job = process.write(folder, model, x[:2], settings, data)
        story = process.run(folder, job, console)
        with files.replacing(path) as temporary:
            shutil.copyfile(folder / "model.tflite", temporary)
            if metadata is not None:
                write(temporary, metadata)
    accuracy = None
    if validation_data is not None:
        with terminal.bar(
            console, f"{path.name}: accuracy", len(x_validation)
        ) as update:
            found = runtime.predict(path, x_validation, update)
        accuracy = head.accuracy(found, y_validation)
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


def check_installed():
    """Raises ModuleNotFoundError unless `keras-nonconvex[qat]` is there."""
    for package in ("tensorflow_model_optimization", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(
                "Quantization-aware training needs more packages: "
                "pip install 'keras-nonconvex[qat]'. "
                f"Received: no package '{package}'"
            )


def check_model(model):
    """Refuses a model of which no twin can be built.

    Args:
        model: A built Keras model.

    Raises:
        ValueError: The model is subclassed, has several inputs or outputs, or
            has a layer without a twin (the message names it).
    """
    graph.check_functional(model)
    ends = len(model.inputs), len(model.outputs)
    if ends != (1, 1):
        raise ValueError(
            "Quantization-aware training takes models with one input and one "
            f"output; `convert` takes others, with precision='int8'. Received: "
            f"model={model.name!r} with {ends[0]} and {ends[1]}"
        )
    description.describe(model)


def _check_settings(path, epochs, batch_size, learning_rate):
    if path.suffix != ".tflite":
        raise ValueError(
            f"Argument `path` must end in '.tflite'. Received: path={path}"
        )
    checks.whole("epochs", epochs, 1)
    checks.whole("batch_size", batch_size, 1)
    checks.number(
        "learning_rate", learning_rate, "a number above 0", lambda v: v > 0
    )


def _check_scheme(keep_zeros, clusters, precision):
    checks.choice("precision", precision, PRECISIONS)
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


def _labelled(model, head, x, y, name, split="train"):
    """Checked inputs and labels as arrays."""
    x, y = samples.read(model, x, y, name=name, split=split)
    if y is None:
        raise ValueError(
            f"Argument `{name}` needs labels. Received: inputs alone"
        )
    units = model.output_shape[-1]
    if head.kind == outputs.CLASSES:
        y, classes = samples.class_numbers(y, name), units
        shapes = [(len(x),)]
    else:
        classes = 2
        shapes = [(len(x), units), *([(len(x),)] if units == 1 else [])]
    whole = np.issubdtype(y.dtype, np.integer) and y.shape in shapes
    if not whole or y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"The labels of `{name}` must be {len(x)} whole numbers from 0 "
            f"to {classes - 1}. Received: {y.dtype} of shape {y.shape}"
        )
    return x, y
