"""Criteria that look at gradients: of the loss, or of all outputs."""

import dataclasses
import typing

import keras
import numpy as np
from keras import ops

from keras_nonconvex import data_loss
from keras_nonconvex import outputs
from keras_nonconvex.pruning.criteria import drawing
from keras_nonconvex.pruning.criteria.base import criterion

__all__ = ["Fisher", "OutputChange", "Taylor"]


@criterion("taylor")
@dataclasses.dataclass(frozen=True)
class Taylor:
    """First-order change of the loss: `(sum of w dL/dw)^2` per class.

    The weights w are all those that read the class: without them its channels
    count as zero. The score is the mean over batches of random samples,
    computed as in training. Unless `plan` is told otherwise, it is divided by
    what removing the class saves.

    Args:
        data: `(x, y)`, arrays, where `x` may be a list or dict of them; or a
            `tf.data.Dataset`, `PyDataset` or generator of such; or the name
            or folder of a data set.
        samples: How many random samples to look at, an int >= 1. Defaults to
            `1024`.
        batch_size: Samples per gradient, an int >= 1. Defaults to `16`.
        loss: A loss as in `compile`. Defaults to `None`: the model's own,
            else the crossentropy that suits its output.
        seed: The seed of the choice of samples, an int. Defaults to `0`.

    Example:
    >>> taylor = knc.pruning.criteria.Taylor((x, y), samples=512)
    >>> small = knc.prune(model, taylor, {"macs": 0.5})

    Reference:
    - Molchanov et al., "Importance Estimation for Neural Network Pruning",
      2019.
    """

    estimates_loss: typing.ClassVar[bool] = True

    data: object
    samples: int = 1024
    batch_size: int = 16
    loss: object = None
    seed: int = 0

    def __post_init__(self):
        drawing.check(self)

    def __call__(self, trace):
        x, y = drawing.drawn(trace, self.data, self.samples, self.seed)
        readers = trace.of_role("input", "inner")
        return sum(
            part * _change(trace, gradients, readers) ** 2
            for part, gradients in _gradients(
                self, trace, x, y, self.loss, training=True
            )
        )


@criterion("output_change")
@dataclasses.dataclass(frozen=True)
class OutputChange:
    """First-order change of the outputs: `sum over z of (sum of w dz/dw)^2`.

    The weights w are those of `Taylor`, and z are the outputs of the model,
    taken before a last softmax or sigmoid. Labels are not needed, and samples
    that the model knows by heart, whose loss has no slope left, count as much
    as others. The score is the mean over random samples. It is estimated by
    one gradient per batch, of the sum of all outputs with random signs s:

        E_s (sum of s_i a_i)^2 = sum of a_i^2

    Unless `plan` is told otherwise, it is divided by what removing the class
    saves.

    Args:
        data: `(x, y)`, or `x` alone, in one of the forms of `Taylor`. Targets
            are not looked at.
        samples: How many random samples to look at, an int >= 1. Defaults to
            `1024`.
        batch_size: Samples per gradient, an int >= 1. Defaults to `16`.
        seed: The seed of the choice of samples and of the signs, an int.
            Defaults to `0`.

    Example:
    >>> small = knc.prune(model, "output_change", {"macs": 0.5}, data=x)

    References:
    - Molchanov et al., "Importance Estimation for Neural Network Pruning",
      2019 (of the loss).
    - Hutchinson, "A Stochastic Estimator of the Trace of the Influence
      Matrix", 1990 (random signs).
    """

    estimates_loss: typing.ClassVar[bool] = True

    data: object
    samples: int = 1024
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self):
        drawing.check(self, labels=False)

    def __call__(self, trace):
        x = drawing.inputs(trace, self.data, self.samples, self.seed)
        first = trace.model(keras.tree.map_structure(lambda a: a[:1], x))
        count = len(keras.tree.flatten(x)[0])
        rng = np.random.default_rng(self.seed)
        signs = keras.tree.map_structure(
            lambda z: _Signs((count, *z.shape[1:]), rng), first
        )
        answers = iter(outputs.of(trace.given))
        loss = keras.tree.map_structure(lambda _: _signed(next(answers)), first)
        readers = trace.of_role("input", "inner")
        # The mean of n terms, squared, is 1/n of the mean of their squares.
        return sum(
            part * (part * count) * _change(trace, gradients, readers) ** 2
            for part, gradients in _gradients(
                self, trace, x, signs, loss, training=False
            )
        )


@criterion("fisher")
@dataclasses.dataclass(frozen=True)
class Fisher:
    """The slope of the loss along filters: `(sum of w dL/dw)^2` per class.

    The weights w are the filters and biases of the class, dL/dw is the
    gradient of the mean loss over all samples, and normalizations use their
    moving statistics. (`Taylor` takes the mean of the squares over batches
    instead, and looks at the weights that read the class.)

    Args:
        data: `(x, y)` in one of the forms of `Taylor`.
        samples: How many random samples to look at, an int >= 1. Defaults to
            `1024`.
        batch_size: How many samples are run at once, an int >= 1. Defaults to
            `64`.
        loss: A loss as in `compile`. Defaults to `None`: the model's own,
            else the crossentropy that suits its output.
        seed: The seed of the choice of samples, an int. Defaults to `0`.

    Example:
    >>> small = knc.prune(model, "fisher", {"macs": 0.5}, data=(x, y))

    Reference:
    - Lubana et al., "OrthoReg: Robust Network Pruning Using Orthonormality
      Regularization", 2020.
    """

    estimates_loss: typing.ClassVar[bool] = True

    data: object
    samples: int = 1024
    batch_size: int = 64
    loss: object = None
    seed: int = 0

    def __post_init__(self):
        drawing.check(self)

    def __call__(self, trace):
        x, y = drawing.drawn(trace, self.data, self.samples, self.seed)
        makers = trace.of_role("filter", "bias")
        mean = sum(
            part * _change(trace, gradients, makers)
            for part, gradients in _gradients(
                self, trace, x, y, self.loss, training=False
            )
        )
        return mean**2


class _Signs:
    """Random signs, one for each number of an output, drawn when sliced."""

    def __init__(self, shape, rng):
        self.shape = shape
        self.rng = rng

    def __getitem__(self, part):
        size = len(range(*part.indices(self.shape[0])))
        signs = self.rng.integers(0, 2, (size, *self.shape[1:]))
        return (2 * signs - 1).astype("float32")


def _signed(output):
    """A loss: the sum of an output's numbers with the signs given as labels."""

    def loss(signs, values):
        values = signs * output.logits(values)
        return ops.sum(values, axis=tuple(range(1, len(values.shape))))

    return loss


def _gradients(settings, trace, x, y, loss, training):
    """`data_loss.per_batch` with the settings of a criterion."""
    return data_loss.per_batch(
        trace.model,
        x,
        y,
        settings.batch_size,
        loss=loss,
        judged=trace.given,
        training=training,
    )


def _change(trace, gradients, uses):
    """The sum of w dL/dw over each class; infinite where there is no w.

    Args:
        trace: A `Trace`.
        gradients: {id of a weight: its gradient}.
        uses: The weights w, a list of `Use`.
    """
    change = np.zeros(len(trace))
    known = np.zeros(len(trace), dtype=bool)
    for use in uses:
        if id(use.variable) in gradients:
            product = use.rows(use.values * gradients[id(use.variable)])
            roots = trace.root_of[use.ids]
            np.add.at(change, roots, product.sum(axis=1))
            known[roots] = True
    return np.where(known, change, np.inf)
