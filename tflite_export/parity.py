"""Does the file compute what the Keras model computes?"""

import dataclasses

import numpy as np

from keras_nonconvex import outputs
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export import samples
from tflite_export.precisions import PRECISIONS
from tflite_export.precisions import Limits
from tflite_export.precisions import recognised


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
        x: Array `(n, ...)` of at least one finite input, as the Keras model
            takes it; a quantized file gets what it needs made of it.
        y: Labels by which accuracies are measured, for a classifier: whole
            numbers `(n,)`, for each position `(n, ...)` where there are
            several, `(n, 1)`, or one number for each unit. Defaults to
            `None`.
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
    samples.check_inputs(model, x)
    (head,) = outputs.of(model)
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
