"""Criteria that look at gradients of the loss."""

import dataclasses
import typing

import numpy as np

from keras_nonconvex import data_loss
from keras_nonconvex.pruning.criteria import drawing
from keras_nonconvex.pruning.criteria.base import Scored
from keras_nonconvex.pruning.criteria.base import criterion

__all__ = ["Fisher", "Taylor"]


@criterion("taylor")
@dataclasses.dataclass(frozen=True)
class Taylor:
    """First-order change of the loss: `(sum of w dL/dw)^2` per channel.

    The weights w are the scale and shift of the channel's normalization where
    it has one, and its filter and bias otherwise. The score is the mean over
    batches of random samples, computed as in training. Unless `plan` is told
    otherwise, the scores of a class are summed and divided by what its
    removal saves.

    Args:
        data: `(x, y)`, arrays, where `x` may be a list or dict of them; or a
            `tf.data.Dataset`, `PyDataset` or generator of such; or the name
            or folder of a data set.
        samples: How many random samples to look at, an int >= 1. Defaults to
            `1024`.
        batch_size: Samples per gradient, an int >= 1. Defaults to `64`.
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
    batch_size: int = 64
    loss: object = None
    seed: int = 0

    def __post_init__(self):
        drawing.check(self)

    def __call__(self, trace):
        normalized = trace.of_role("scale", "shift")
        roots = [trace.root_of[use.ids] for use in normalized]
        roots = np.unique(np.concatenate([*roots, np.zeros(0, int)]))
        total = {}
        for part, gradients in _gradients(self, trace, training=True):
            changes = _changes(trace, gradients, normalized)
            changes += _changes(
                trace, gradients, trace.of_role("filter", "bias"), roots
            )
            for key, ids, change in changes:
                _, so_far = total.get(key, (ids, 0.0))
                total[key] = ids, so_far + part * change**2
        return [(Scored(ids), scores) for ids, scores in total.values()]


@criterion("fisher")
@dataclasses.dataclass(frozen=True)
class Fisher:
    """The slope of the loss along a filter: `(sum of w dL/dw)^2`.

    The weights w are the filter and bias of the channel, dL/dw is the gradient
    of the mean loss over all samples, and normalizations use their moving
    statistics. (`Taylor` takes the mean of the squares over batches instead,
    and looks at the normalization's weights.)

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
        makers = trace.of_role("filter", "bias")
        total = {}
        for part, gradients in _gradients(self, trace, training=False):
            for key, ids, change in _changes(trace, gradients, makers):
                _, so_far = total.get(key, (ids, 0.0))
                total[key] = ids, so_far + part * change
        return [(Scored(ids), change**2) for ids, change in total.values()]


def _gradients(settings, trace, training):
    """`data_loss.per_batch` of a criterion's random samples."""
    x, y = drawing.drawn(trace, settings.data, settings.samples, settings.seed)
    return data_loss.per_batch(
        trace.model,
        x,
        y,
        settings.batch_size,
        loss=settings.loss,
        judged=trace.given,
        training=training,
    )


def _changes(trace, gradients, uses, without=()):
    """[(key, ids, sum of w dL/dw per id)] of each layer.

    Args:
        trace: A `Trace`.
        gradients: {id of a weight: its gradient}.
        uses: The weights w, a list of `Use`.
        without: Roots of classes that do not count, an array. Defaults to
            `()`.
    """
    sums = {}
    for use in uses:
        counts = ~np.isin(trace.root_of[use.ids], without)
        if id(use.variable) not in gradients or not counts.any():
            continue
        product = use.values * gradients[id(use.variable)]
        change = np.where(counts, use.rows(product).sum(axis=1), 0.0)
        key = (id(use.layer), use.ids.tobytes())
        ids, so_far = sums.get(key, (use.ids, 0.0))
        sums[key] = ids, so_far + change
    return [(key, ids, change) for key, (ids, change) in sums.items()]
