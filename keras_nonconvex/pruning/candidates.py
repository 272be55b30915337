"""`Candidates`: which classes of channels may go, and which ones first."""

import fnmatch

import numpy as np

from keras_nonconvex.pruning.costs import savings
from keras_nonconvex.pruning.criteria import scores_of


class Candidates:
    """The classes of a model that may go.

    Attributes:
        trace: The `Trace`.
        superfluous: One bool per id: classes that change nothing if they go.
        movable: One bool per id: classes that may go.
        scores: One number per id: the lowest go first, -inf the superfluous.
        excluded: {root: why} of the classes that excluded layers make.

    Args:
        trace: A `Trace`.
        superfluous: The `Superfluous` of the trace.
        criterion: As in `plan`.
        data: As in `plan`.
        combine: As in `plan`.
        exclude: As in `plan`.
        per: `"macs"` or `"params"`, what the scores are divided by, or None.
    """

    def __init__(
        self, trace, superfluous, criterion, data, combine, exclude, per=None
    ):
        self.trace = trace
        self.excluded = _excluded(trace, exclude)
        movable = trace.free.copy()
        movable[list(superfluous.stuck)] = False
        movable[list(self.excluded)] = False
        self.superfluous = movable & (superfluous.unread | superfluous.constant)
        scores = scores_of(trace, criterion, data, combine)
        if per is not None:
            scores = scores / np.maximum(savings(trace, per), 1.0)
        self.movable = movable & (self.superfluous | (scores < np.inf))
        self.scores = np.where(self.superfluous, -np.inf, scores)


def _excluded(trace, patterns):
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, (list, tuple)) or not all(
        isinstance(pattern, str) for pattern in patterns
    ):
        raise ValueError(
            "Argument `exclude` must be a layer name pattern or a list of "
            f"them. Received: exclude={patterns!r}"
        )
    reasons = {}
    for pattern in patterns:
        names = fnmatch.filter(trace.layers, pattern)
        if not names:
            raise ValueError(
                "Argument `exclude` needs patterns of layer names. No layer "
                f"is called so: {pattern!r}; the first are "
                f"{list(trace.layers)[:5]}. Received: exclude={patterns!r}"
            )
        for name in names:
            for ids in trace.made.get(name, []):
                for root in trace.root_of[ids]:
                    reasons[int(root)] = f"'{name}' is excluded"
    return reasons
