"""What a criterion is, and how its scores become one per class.

A criterion is a function of a `Trace`. It returns one score per channel id,
read at the class roots, or a list of (use, one score per index): those are
combined over all layers of a class. The lowest go first, after the exactly
superfluous ones.
"""

import typing

import numpy as np

from keras_nonconvex import checks

REGISTRY = {}


class Scored(typing.NamedTuple):
    """What scores may belong to that is no `Use`.

    Attributes:
        ids: One channel id per score, an int array.
    """

    ids: np.ndarray


def criterion(name):
    """Decorator: makes a function or class available as `criterion=name`.

    A criterion is a function of a `Trace`, the channel graph of the model. It
    returns `[(use, scores), ...]`, with one score per channel of each
    `trace.of_role(...)` that it looks at, or an array of `len(trace)` scores.
    The channels with the lowest scores go first; `inf` keeps a channel. A
    class is called to make the function, with `data` if it has such a field.

    Args:
        name: The name, a string. An existing one is replaced.

    Example:
    >>> @knc.pruning.criterion("l1")
    ... def l1(trace):
    ...     return [
    ...         (use, np.abs(use.rows()).sum(axis=1))
    ...         for use in trace.of_role("filter")
    ...     ]
    >>> knc.prune(model, "l1", {"macs": 0.5})
    """

    def register(function):
        REGISTRY[name] = function
        return function

    return register


def needs_data(criterion):
    """Whether a criterion is a class that looks at samples.

    Args:
        criterion: A registered name, a class or a function.
    """
    criterion = _registered(criterion)
    fields = getattr(criterion, "__dataclass_fields__", {})
    return isinstance(criterion, type) and "data" in fields


def name_of(criterion):
    """The name of a criterion, whether it is a name already or a function.

    Args:
        criterion: As in `plan`.
    """
    if isinstance(criterion, str):
        return criterion
    named = getattr(criterion, "__name__", None)
    return named or type(criterion).__name__


def combined(trace, parts, how="mean"):
    """Scores of weight axes as scores of classes of tied channels.

    Args:
        trace: A `Trace`.
        parts: A list of (use, one score per index of its axis); for scores
            of other axes than those of weights, of (`Scored`, scores).
        how: `"mean"`, `"sum"` or `"max"` over all that belongs to a class.
            Defaults to `"mean"`.

    Returns:
        One score per channel id, read at the class roots; `inf` where there
        is none.
    """
    checks.choice("combine", how, ["mean", "sum", "max"])
    total = np.zeros(len(trace))
    count = np.zeros(len(trace))
    for use, scores in parts:
        roots = trace.root_of[use.ids]
        if how == "max":
            np.maximum.at(total, roots, scores)
        else:
            np.add.at(total, roots, scores)
        np.add.at(count, roots, 1)
    if how == "mean":
        total = total / np.maximum(count, 1)
    return np.where(count > 0, total, np.inf)


def relative(scores):
    """Scores in units of their mean over the layer, zeros left out.

    Args:
        scores: Scores of one layer, an array of numbers >= 0.
    """
    alive = scores[scores > 0]
    return scores / alive.mean() if len(alive) else scores


def estimates_loss(criterion):
    """Whether a criterion estimates how much the loss rises.

    Such scores add up over the layers of a class, and count per cost. Those
    criteria have an attribute `estimates_loss` that is true.

    Args:
        criterion: As in `plan`.
    """
    return getattr(_registered(criterion), "estimates_loss", False)


def scores_of(trace, criterion, data=None, combine=None):
    """What a criterion says of the classes of a model.

    Args:
        trace: A `Trace`.
        criterion: As in `plan`. "zeros" ranks nothing: the norms then decide
            which superfluous channels stay where some have to.
        data: (x, y) for criteria that look at samples. Defaults to `None`.
        combine: `how` of `combined`. Defaults to `None`: `"sum"` for a
            criterion that estimates a rise of the loss, else `"mean"`.

    Returns:
        One finite score or `inf` per channel id.
    """
    scores = _function(criterion, data)(trace)
    if isinstance(scores, list):
        usual = "sum" if estimates_loss(criterion) else "mean"
        scores = combined(trace, scores, combine or usual)
    scores = np.asarray(scores, dtype="float64")
    if scores.shape != (len(trace),) or np.isnan(scores).any():
        raise ValueError(
            "A criterion must return one number per channel id, "
            f"{len(trace)} here, or (use, scores) pairs. "
            f"Received: shape {scores.shape}"
            + (" with NaN" if np.isnan(scores).any() else "")
        )
    return np.maximum(scores, -1e300)


def _registered(criterion):
    """What a name stands for; all else stands for itself."""
    if isinstance(criterion, str):
        # "zeros" stands for no criterion.
        return REGISTRY.get(criterion)
    return criterion


def _function(criterion, data):
    """A criterion as a function of a trace."""
    zeros = isinstance(criterion, str) and criterion == "zeros"
    function = _registered("group_norm" if zeros else criterion)
    if not isinstance(function, type):
        return function
    if not needs_data(function):
        return function()
    if data is None:
        raise ValueError(
            f"Criterion {criterion!r} looks at samples: give data=(x, y). "
            "Received: data=None"
        )
    return function(data=data)
