"""Does the file compute what the Keras model computes?"""

import dataclasses
import warnings

import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex import samples
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export.precisions import PRECISIONS
from tflite_export.precisions import Limits
from tflite_export.precisions import recognised

# From so many decisions on, an accuracy can be told from that of guessing.
_ENOUGH = 20


@dataclasses.dataclass(frozen=True)
class Parity:
    """Keras against LiteRT on the same inputs.

    Attributes:
        path: str. The file.
        samples: int. The number of inputs.
        precision: str. The file's precision.
        max_abs_diff: float. The largest difference between two outputs.
        mean_abs_diff: float. The mean difference over all outputs.
        error: float. The root mean square of the difference, as a fraction
            of the standard deviation of Keras' outputs.
        agreement: float. The fraction of decisions that are the same: the
            class of an input or of each of its positions, or yes or no for
            each unit. `None` for outputs that are values.
        keras_accuracy: float. The model's accuracy, or `None` without labels.
        accuracy: float. The file's accuracy, or `None` without labels.
        limits: The `Limits` that apply.
    """

    path: str
    samples: int
    precision: str
    max_abs_diff: float
    mean_abs_diff: float
    error: float
    agreement: float | None
    keras_accuracy: float | None
    accuracy: float | None
    limits: Limits

    @property
    def met(self):
        """Whether the file is within the limits."""
        # NaN is not below any limit.
        return self.error <= self.limits.error and (
            self.agreement is None or self.agreement >= self.limits.agreement
        )

    def __str__(self):
        text = (
            f"{self.path}: max |difference| {self.max_abs_diff:.2g}, mean "
            f"{self.mean_abs_diff:.2g}, relative error {self.error:.2g} on "
            f"{self.samples} inputs"
        )
        if self.agreement is not None:
            text += f", agreement of decisions {self.agreement:.2%}"
        if self.accuracy is not None:
            text += (
                f"; accuracy {self.accuracy:.2%} "
                f"(Keras {self.keras_accuracy:.2%})"
            )
        return (
            f"{text}; limits of {self.precision} (error {self.limits.error:g}, "
            f"agreement {self.limits.agreement:.1%}) "
            f"{'met' if self.met else 'NOT met'}"
        )


def check_parity(model, path, x, y=None, limits=None, progress=None):
    """Runs a model and its LiteRT file on the same inputs and compares.

    Args:
        model: The Keras model.
        path: str or path. Its LiteRT file.
        x: Inputs as the Keras model takes them, all of which are compared:
            an array `(n, ...)`; a `tf.data.Dataset`, `PyDataset` or
            generator, with or without labels; or the name or folder of a data
            set, of which the test images are taken. A quantized file gets
            what it needs made of them.
        y: Labels by which accuracies are measured, for a classifier: whole
            numbers `(n,)`, for each position `(n, ...)` where there are
            several, `(n, 1)`, or one number for each unit. Defaults to
            `None`: those of `x`, if it has any.
        limits: A `Limits` that the file has to keep. Defaults to `None`:
            those of the file's precision.
        progress: Function that is called now and then with the number of
            inputs that are done. Defaults to `None`.

    Returns:
        A `Parity`; its `met` says whether the limits hold.

    Example:
    >>> parity = tflite_export.check_parity(
    ...     model, "model.int8.tflite", x_test[:500], y_test[:500]
    ... )
    >>> print(parity)
    >>> assert parity.met
    """
    precision = recognised(flatfile.read(path))
    (head,) = outputs.of(model)
    own = y is None
    x, y = samples.read(model, x, y, split="test")
    if own and head.kind not in (outputs.CLASSES, outputs.YES_NO):
        # The targets that a dataset brings are numbers, no labels.
        y = None
    expected = model.predict(x, batch_size=min(len(x), 256), verbose=0)
    keras_accuracy = head.accuracy(expected, y)
    found = runtime.predict(path, x, progress)
    if found.shape != expected.shape:
        raise ValueError(
            f"The file's outputs have shape {found.shape[1:]}, the model's "
            f"{expected.shape[1:]}. Received: path={str(path)!r}, "
            f"model={model.name!r}"
        )
    difference = np.abs(expected - found)
    spread = float(expected.std()) or 1.0
    if y is not None:
        _warn_of_chance(head, expected, keras_accuracy)
    return Parity(
        path=str(path),
        samples=len(x),
        precision=precision,
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        error=float(np.sqrt(np.mean(difference**2))) / spread,
        agreement=head.agreement(expected, found),
        keras_accuracy=keras_accuracy,
        accuracy=head.accuracy(found, y),
        limits=limits or PRECISIONS[precision].limits,
    )


def _warn_of_chance(head, expected, accuracy):
    """Warns where Keras itself only guesses, so that agreement is no news."""
    classes = expected.shape[-1] if head.kind == outputs.CLASSES else 2
    decisions, chance = head.decisions(expected).size, 1 / max(classes, 2)
    spread = np.sqrt(chance * (1 - chance) / decisions)
    if decisions >= _ENOUGH and accuracy <= chance + spread:
        warnings.warn(
            f"The Keras model itself is right in {accuracy:.2%} of the cases, "
            f"where guessing is right in {chance:.2%}: check that `x` has the "
            "range of values and `y` the labels that it was trained on. "
            f"Received: {len(expected)} inputs",
            stacklevel=3,
        )
