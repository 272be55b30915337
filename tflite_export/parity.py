"""Does the file compute what the Keras model computes?"""

import dataclasses

import numpy as np

from tflite_export import flatfile
from tflite_export import precisions
from tflite_export import runtime
from tflite_export import samples


@dataclasses.dataclass(frozen=True)
class Parity:
    """Keras against LiteRT on the same inputs.

    Attributes:
        samples: How many inputs.
        precision: Of the file.
        max_abs_diff, mean_abs_diff: Over all outputs.
        error: Root mean square of the difference, as a fraction of the
            standard deviation of Keras' outputs.
        agreement: Fraction of inputs with the same largest output.
        keras_accuracy, accuracy: With labels; else None.
        limits: The `Limits` that apply.
    """

    path: str
    samples: int
    precision: str
    max_abs_diff: float
    mean_abs_diff: float
    error: float
    agreement: float
    keras_accuracy: float | None
    accuracy: float | None
    limits: precisions.Limits

    @property
    def met(self):
        """Whether the file is within the limits."""
        # NaN is not below any limit.
        return (
            self.error <= self.limits.error
            and self.agreement >= self.limits.agreement
        )

    def __str__(self):
        text = (
            f"{self.path}: max |difference| {self.max_abs_diff:.2g}, mean "
            f"{self.mean_abs_diff:.2g}, relative error {self.error:.2g}, "
            f"top-1 agreement {self.agreement:.2%} on {self.samples} inputs"
        )
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
    """Runs both on `x` and compares.

    Args:
        model: The Keras model.
        path: Its LiteRT file.
        x: Inputs (n, ...), as Keras takes them.
        y: Integer labels (n,), or None.
        limits: A `Limits`; None for those of the file's precision.
        progress: Called with the number of inputs done, now and then.

    Returns:
        A `Parity`; its `met` says whether the limits hold.
    """
    precision = flatfile.precision(flatfile.read(path))
    samples.check_inputs(model, x)
    if y is not None and np.shape(y) != (len(x),):
        raise ValueError(
            f"Argument `y` must hold {len(x)} integer labels. "
            f"Received: shape {np.shape(y)}"
        )
    expected = model.predict(x, batch_size=min(len(x), 256), verbose=0)
    found = runtime.predict(path, x, progress)
    if found.shape != expected.shape:
        raise ValueError(
            f"The file's outputs have shape {found.shape[1:]}, the model's "
            f"{expected.shape[1:]}. Received: path={str(path)!r}, "
            f"model={model.name!r}"
        )
    difference = np.abs(expected - found)
    spread = float(expected.std()) or 1.0
    same = expected.argmax(-1) == found.argmax(-1)
    return Parity(
        path=str(path),
        samples=len(x),
        precision=precision,
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        error=float(np.sqrt(np.mean(difference**2))) / spread,
        agreement=float(same.mean()),
        keras_accuracy=_accuracy(expected, y),
        accuracy=_accuracy(found, y),
        limits=limits or precisions.LIMITS[precision],
    )


def _accuracy(outputs, labels):
    if labels is None:
        return None
    return float((outputs.argmax(-1) == np.asarray(labels)).mean())
