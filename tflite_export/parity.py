"""Does the file compute what the Keras model computes?"""

import dataclasses

import numpy as np

from tflite_export import runtime


@dataclasses.dataclass(frozen=True)
class Parity:
    """Keras against LiteRT on the same inputs.

    Attributes:
        samples: How many inputs.
        max_abs_diff, mean_abs_diff: Over all outputs.
        agreement: Fraction of inputs with the same largest output.
        keras_accuracy, accuracy: With labels; else None.
    """

    path: str
    samples: int
    max_abs_diff: float
    mean_abs_diff: float
    agreement: float
    keras_accuracy: float | None
    accuracy: float | None

    def __str__(self):
        text = (
            f"{self.path}: max |difference| {self.max_abs_diff:.2g}, mean "
            f"{self.mean_abs_diff:.2g}, top-1 agreement {self.agreement:.2%} "
            f"on {self.samples} inputs"
        )
        if self.accuracy is not None:
            text += (
                f"; accuracy {self.accuracy:.2%} "
                f"(Keras {self.keras_accuracy:.2%})"
            )
        return text


def check_parity(model, path, x, y=None, progress=None):
    """Runs both on `x` and compares.

    Args:
        model: The Keras model.
        path: Its LiteRT file.
        x: Inputs (n, ...).
        y: Integer labels (n,), or None.
        progress: Called with the number of inputs done, now and then.

    Returns:
        A `Parity`.
    """
    if y is not None and np.shape(y) != (len(x),):
        raise ValueError(
            f"Argument `y` must hold {len(x)} integer labels. "
            f"Received: shape {np.shape(y)}"
        )
    expected = model.predict(x, batch_size=256, verbose=0)
    found = runtime.predict(path, x, progress)
    difference = np.abs(expected - found)
    same = expected.argmax(-1) == found.argmax(-1)
    return Parity(
        path=str(path),
        samples=len(x),
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        agreement=float(same.mean()),
        keras_accuracy=_accuracy(expected, y),
        accuracy=_accuracy(found, y),
    )


def _accuracy(outputs, labels):
    if labels is None:
        return None
    return float((outputs.argmax(-1) == np.asarray(labels)).mean())
