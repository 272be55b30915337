"""`Candidates`: which classes of channels may go, and which ones first."""

import numpy as np

from keras_nonconvex import layer_names
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
        excluded = [n for n in trace.layers if layer_names.matches(pattern, n)]
        if not excluded:
            raise ValueError(
                "Argument `exclude` needs patterns of layer names, and no "
                f"layer is called {pattern!r}. "
                f"{layer_names.near(pattern, trace.layers)} "
                f"Received: exclude={patterns!r}"
            )
        for name in excluded:
            for ids in trace.made.get(name, []):
                for root in trace.root_of[ids]:
                    reasons[int(root)] = f"'{name}' is excluded"
    return reasons
