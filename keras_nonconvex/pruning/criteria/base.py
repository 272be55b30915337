"""What a criterion is, and how its scores become one per class.

A criterion is a function of a `Trace`. It returns one score per channel id,
read at the class roots, or a list of (use, one score per index): those are
combined over all layers of a class. The lowest go first, after the exactly
superfluous ones.
"""

import numpy as np

from keras_nonconvex import checks

REGISTRY = {}


def criterion(name):
    """Decorator: makes a function or class available as `criterion=name`.

    A class is called without arguments first, or with `data` if it has such a
    field.
    """

    def register(found):
        REGISTRY[name] = found
        return found

    return register


def combined(trace, parts, how="mean"):
    """[(use, scores)] -> one score per id; inf where there is none.

    Args:
        trace: A `Trace`.
        parts: The scores of the indices of weight axes.
        how: "mean", "sum" or "max" over all that belongs to a class.
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
