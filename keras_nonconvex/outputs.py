"""What each output of a model is: classes, answers of yes or no, or values.

Every stage asks here: losses, metrics, accuracies, parity, criteria and
distillation.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_nonconvex import endings
from keras_nonconvex import graph
from keras_nonconvex import unfolding

# One class out of several, along the last axis.
CLASSES = "classes"
# Each unit says yes or no by itself.
YES_NO = "yes or no"
# Numbers, as of a regression.
VALUES = "values"

# What Keras' losses are for, by the names of their functions.
_FOR_CLASSES = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
    "sparse_categorical_crossentropy",
)
_FOR_YES_NO = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "hinge",
    "squared_hinge",
)
_FOR_VALUES = (
    "cosine_similarity",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
)
_LOSSES = {
    **dict.fromkeys(_FOR_CLASSES, CLASSES),
    **dict.fromkeys(_FOR_YES_NO, YES_NO),
    **dict.fromkeys(_FOR_VALUES, VALUES),
}
# Their classes have the same names in another spelling.
_CLASSES = {name.replace("_", ""): name for name in _LOSSES}
_MARGINS = ("categorical_hinge", "hinge", "squared_hinge")


@dataclasses.dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        name: Its name.
        shape: Its shape with the batch axis, or `None` if that is not known.
        kind: `CLASSES`, `YES_NO`, `VALUES`, or `None` where neither the loss
            nor the last layer tells.
        probabilities: Whether it gives probabilities; if not, it gives logits
            or values.
        loss: The loss that counts: the given one or that of `compile`; or
            `None`.
    """

    name: str
    shape: tuple | None
    kind: str | None
    probabilities: bool
    loss: object = None

    @property
    def decides(self):
        """Whether it is a classifier's."""
        return self.kind in (CLASSES, YES_NO)

    @property
    def told(self):
        """Whether the loss or the last layer says what it gives."""
        return self.loss is not None or self.probabilities

    def usual_loss(self, labels=None):
        """The crossentropy for it.

        Args:
            labels: The labels, which tell by their shape whether they are one
                of each class. Defaults to `None`: whole numbers.
        """
        logits = not self.probabilities
        if self.kind == CLASSES:
            shape = getattr(labels, "shape", ())
            one_hot = len(shape) == len(self.shape or ()) and shape[-1] != 1
            crossentropy = (
                keras.losses.CategoricalCrossentropy
                if one_hot
                else keras.losses.SparseCategoricalCrossentropy
            )
            return crossentropy(from_logits=logits)
        if self.kind == YES_NO:
            return keras.losses.BinaryCrossentropy(from_logits=logits)
        raise ValueError(
            "A loss is needed: compile the model with one or pass `loss=`. "
            f"Received: output {self.name!r}, whose last layer does not tell "
            "it"
        )

    def check_loss(self):
        """Refuses a loss for probabilities where the output gives logits."""
        name, logits = _described(self.loss)
        takes = _LOSSES.get(name) in (CLASSES, YES_NO) and not logits
        if takes and not self.probabilities and name not in _MARGINS:
            raise ValueError(
                f"The loss {name!r} takes probabilities, but output "
                f"{self.name!r} gives logits: use the loss with "
                f"from_logits=True. Received: loss={self.loss!r}"
            )

    def metrics(self):
        """The accuracy for it as a list of metrics; empty for values."""
        if self.kind == CLASSES:
            return ["accuracy"]
        if self.kind == YES_NO:
            return [
                keras.metrics.BinaryAccuracy(
                    "accuracy", threshold=self._threshold
                )
            ]
        return []

    @property
    def _threshold(self):
        return 0.5 if self.probabilities else 0.0

    def decisions(self, outputs):
        """What the outputs of a classifier decide: the class, or yes or no.

        Args:
            outputs: An array (n, ..., units).
        """
        if self.kind == CLASSES:
            return outputs.argmax(-1)
        return outputs > self._threshold

    def agreement(self, first, second):
        """The fraction of decisions that are the same; `None` for values.

        Args:
            first: An array (n, ..., units) of outputs.
            second: An array of other outputs of the same shape.
        """
        if not self.decides:
            return None
        same = self.decisions(first) == self.decisions(second)
        return float(same.mean())

    def accuracy(self, outputs, labels):
        """The fraction of decisions, at every position, that are right.

        Args:
            outputs: An array (n, ..., units).
            labels: Whole numbers (n, ...) or (n, ..., 1), or one number for
                each unit; or `None`.

        Returns:
            A number, or `None` without labels.
        """
        if labels is None:
            return None
        if not self.decides:
            raise ValueError(
                "Only decisions have an accuracy: compile the model with the "
                "loss of a classifier, or leave `y` out. Received: labels for "
                f"output {self.name!r} with {self.kind or 'unknown values'}"
            )
        right = self.decisions(outputs) == self.true(outputs, labels)
        return float(right.mean())

    def true(self, outputs, labels):
        """Labels in the form of decisions.

        Args:
            outputs: An array (n, ..., units) of outputs, for its shape.
            labels: As in `accuracy`.
        """
        labels = np.asarray(labels)
        shape = outputs.shape
        if self.kind == YES_NO:
            if labels.shape == shape or (*labels.shape, 1) == shape:
                return labels.reshape(shape) > 0.5
        elif labels.shape == shape:
            return labels.argmax(-1)
        elif labels.shape in (shape[:-1], (*shape[:-1], 1)):
            return labels.reshape(shape[:-1])
        short = shape[:-1] if shape[-1] == 1 or self.kind == CLASSES else shape
        raise ValueError(
            f"Argument `y` must hold {shape[0]} integer labels of shape "
            f"{short}, or as many numbers as the output. Received: shape "
            f"{labels.shape} for outputs of shape {shape}"
        )

    def logits(self, outputs):
        """The numbers behind a last softmax or sigmoid.

        Those of classes are moved so that their softmax sums to 1 as it is,
        whether the model ends in one or not. Other outputs stay as they are.

        Args:
            outputs: A tensor (n, ..., units).
        """
        if self.kind == CLASSES:
            if self.probabilities:
                return _log(outputs)
            return ops.log_softmax(outputs, axis=-1)
        if self.kind == YES_NO and self.probabilities:
            return _log(outputs) - _log(1.0 - outputs)
        return outputs

    def class_logits(self, outputs):
        """Logits whose softmax gives the probability of each answer.

        Args:
            outputs: A tensor (n, ..., units).

        Returns:
            A tensor (n, ..., classes); (n, ..., units, 2) for yes or no.
        """
        if self.kind == CLASSES:
            # Up to a constant, which a softmax ignores.
            return _log(outputs) if self.probabilities else outputs
        yes = self.logits(outputs)
        return ops.stack([ops.zeros_like(yes), yes], axis=-1)


def of(model, loss=None):
    """What the outputs of a model are.

    The loss tells first, the last layer second. A linear layer with several
    units and no loss counts as logits of classes.

    Args:
        model: A built model.
        loss: A loss as in `compile`. Defaults to `None`: the one that the
            model was compiled with.

    Returns:
        A list of one `Output` per output.
    """
    if loss is None:
        loss = getattr(model, "loss", None)
    names, shapes, sets = [getattr(model, "name", "model")], [None], [None]
    whole = _graph_of(model)
    if whole is not None:
        names = list(whole.output_names)
        shapes = [tuple(t.shape) for t in whole.outputs]
        sets = endings.endings(whole)
    losses = by_output(names, loss)
    return [
        _output(*each) for each in zip(names, shapes, sets, losses, strict=True)
    ]


def _graph_of(model):
    """The graph of a model, or `None` for a subclassed one without any."""
    if graph.is_graph(model):
        return graph.functional(model)
    try:
        return unfolding.functional(model)
    except ValueError:
        return None


def by_output(names, given):
    """What a structure as in `compile` or `fit` has for each output.

    Args:
        names: The names of the outputs.
        given: One for all outputs, a list with one each, a dict of name ->
            one, or a structure of them.
    """
    if isinstance(given, dict) and set(given) <= set(names):
        return [given.get(name) for name in names]
    if len(names) == 1 and not isinstance(given, (list, tuple, dict)):
        return [given]
    flat = keras.tree.flatten(given)
    return flat if len(flat) == len(names) else [given] * len(names)


def _output(name, shape, ending, loss):
    said, logits = _described(loss)
    kind = _LOSSES.get(said)
    if said in ("crossentropy", "ce"):
        kind = YES_NO if shape and shape[-1] == 1 else CLASSES
    if ending == endings.SHARES and kind in (None, VALUES):
        kind = CLASSES
    if kind is None and ending == endings.UNIT:
        kind = YES_NO
    if kind is None and ending == endings.REAL:
        # Maps of numbers may be pictures or boxes.
        kind = CLASSES if len(shape) == 2 and shape[-1] > 1 else None
    if ending is None:
        probabilities = kind in (CLASSES, YES_NO) and not logits
    else:
        probabilities = ending != endings.REAL
    return Output(name, shape, kind, probabilities, loss)


def _described(loss):
    """(the name of a Keras loss, whether it takes logits)."""
    if isinstance(loss, keras.losses.Loss):
        # A loss of one's own is what it inherits from.
        names = [c.__name__.lower() for c in type(loss).__mro__]
        name = next((_CLASSES[n] for n in names if n in _CLASSES), names[0])
        logits = getattr(loss, "from_logits", False) or name in _MARGINS
        return name, logits
    if isinstance(loss, str) and loss.lower() not in ("crossentropy", "ce"):
        return _described(keras.losses.get(loss))
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", "")
    return name, name in _MARGINS


def takes_numbers(loss):
    """Whether a loss for classes takes their numbers, and not one-hot rows.

    Args:
        loss: A loss as in `compile`.
    """
    return _described(loss)[0].startswith("sparse_")


def _log(probabilities):
    return ops.log(ops.maximum(probabilities, 1e-7))
