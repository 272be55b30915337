"""Does the file compute what the Keras model computes?"""

import dataclasses
import warnings

import numpy as np
from keras import tree

from keras_nonconvex import outputs
from keras_nonconvex import samples
from tflite_export import flatfile
from tflite_export import inference
from tflite_export import runtime
from tflite_export.precisions import PRECISIONS
from tflite_export.precisions import Limits
from tflite_export.precisions import recognised

# From so many decisions on, an accuracy can be told from that of guessing.
_ENOUGH = 20


@dataclasses.dataclass(frozen=True)
class Parity:
    """Keras in float32 against LiteRT on the same inputs.

    Of several outputs, the worst one counts.

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
        keras_accuracy: float. The model's accuracy, the mean over the outputs
            that have labels, or `None` without labels.
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
            an array `(n, ...)`, a list, tuple or dict of them for several
            inputs; a `tf.data.Dataset`, `PyDataset` or generator, with or
            without labels; or the name or folder of a data set, of which the
            test images are taken. A quantized file gets what it needs made of
            them.
        y: Labels by which accuracies are measured, for a classifier: whole
            numbers `(n,)`, for each position `(n, ...)` where there are
            several, `(n, 1)`, or one number for each unit. For several
            outputs a list or dict of such, which may lack some. Defaults to
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
    return compared(model, path, x, y, limits, progress)[0]


def compared(model, path, x, y=None, limits=None, progress=None):
    """What `check_parity` returns, and the file's outputs.

    Takes what `check_parity` takes.

    Returns:
        (the `Parity`, a list with an array `(n, ...)` for each output).
    """
    precision = recognised(flatfile.read(path))
    heads, own = outputs.of(model), y is None
    model = inference.functional(model)
    x, y = samples.read(model, x, y, split="test")
    labels = _labels(model, heads, y)
    if own:
        # Other targets that a dataset brings are numbers, no labels.
        pairs = zip(heads, labels, strict=True)
        labels = [true if head.decides else None for head, true in pairs]
    x = samples.leaves(model, x)
    expected = inference.predict(model, x)
    keras_accuracies = _accuracies(heads, expected, labels)
    found = tree.flatten(runtime.predict(path, x, progress))
    shapes = [[y.shape[1:] for y in ys] for ys in (expected, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The file's outputs have shape {_listed(shapes[1])}, the "
            f"model's {_listed(shapes[0])}. Received: path={str(path)!r}, "
            f"model={model.name!r}"
        )
    for each in zip(heads, expected, keras_accuracies, strict=True):
        _warn_of_chance(*each)
    differences = list(map(_difference, expected, found))
    agreements = [
        head.agreement(*both)
        for head, *both in zip(heads, expected, found, strict=True)
    ]
    parity = Parity(
        path=str(path),
        samples=len(x[0]),
        precision=precision,
        max_abs_diff=float(max(d.max() for d in differences)),
        mean_abs_diff=float(np.mean(np.concatenate(differences, axis=None))),
        error=max(map(_error, expected, differences)),
        agreement=min(_known(agreements), default=None),
        keras_accuracy=_mean(keras_accuracies),
        accuracy=_mean(_accuracies(heads, found, labels)),
        limits=limits or PRECISIONS[precision].limits,
    )
    return parity, found


def _difference(expected, found):
    return np.abs(expected.astype("float32") - found.astype("float32"))


def _error(expected, difference):
    spread = float(expected.std()) or 1.0
    return float(np.sqrt(np.mean(difference**2))) / spread


def _labels(model, heads, y):
    """The labels of each output, None where there are none."""
    if y is None or (len(heads) == 1 and not isinstance(y, dict)):
        return [y] * len(heads)
    names = [head.name for head in heads]
    if isinstance(y, dict):
        for known in (names, inference.names(model)[1]):
            if set(y) <= set(known):
                return [y.get(name) for name in known]
    elif isinstance(y, (list, tuple)) and len(y) == len(heads):
        return list(y)
    raise ValueError(
        "Argument `y` must be a list or dict with the labels, or None, of "
        f"each output, {', '.join(names)}. Received: {type(y).__name__}"
    )


def _accuracies(heads, found, labels):
    """The accuracy of each output, None for one without labels."""
    return [
        None if true is None else head.accuracy(output, true)
        for head, output, true in zip(heads, found, labels, strict=True)
    ]


def _known(numbers):
    return [number for number in numbers if number is not None]


def _mean(numbers):
    return float(np.mean(_known(numbers))) if _known(numbers) else None


def _warn_of_chance(head, expected, accuracy):
    """Warns where Keras itself only guesses, so that agreement is no news."""
    if accuracy is None:
        return
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


def _listed(shapes):
    return ", ".join(map(str, shapes))
