"""The points of a front: the small models of a run, one for each budget."""

import dataclasses

import numpy as np

from keras_nonconvex.pruning import budgets

# What the one small model of a run is called.
SMALL = "small"


@dataclasses.dataclass(frozen=True)
class Point:
    """One small model of a run.

    Attributes:
        name: A string, the start of the names of its files.
        budget: As in `pruning.plan`, or None: only exact zeros go.
    """

    name: str
    budget: dict | None


def of(budget):
    """The points of a recipe's `budget`, those that keep most first.

    Args:
        budget: A dict, a list of dicts, or None.

    Returns:
        A list of `Point`. One alone is called "small", others by their
        budgets, such as "macs50".
    """
    if not isinstance(budget, (list, tuple)):
        return [Point(SMALL, budget)]
    if not budget:
        raise ValueError(
            "A front must have at least one budget. "
            f"Received: budget={budget!r}"
        )
    for one in budget:
        budgets.check(one)
    points = [Point(_name(one), one) for one in budget]
    if len({point.name for point in points}) < len(points):
        raise ValueError(
            "The budgets of a front must differ from each other. "
            f"Received: budget={budget!r}"
        )
    return sorted(points, key=_size, reverse=True)


def spaced(count, key="macs", most=0.7, least=0.2):
    """Budgets for a front, each the same fraction of the one before.

    Args:
        count: An integer >= 2.
        key: What is counted, as in a budget. Defaults to `"macs"`.
        most: The first fraction. Defaults to `0.7`.
        least: The last fraction. Defaults to `0.2`.

    Returns:
        A list of dicts.
    """
    fractions = np.geomspace(most, least, count)
    return [{key: round(float(f), 3)} for f in fractions]


def _name(budget):
    parts = []
    for key, value in budget.items():
        if isinstance(value, dict):
            raise ValueError(
                "The budgets of a front must be numbers. "
                f"Received: budget[{key!r}]={value!r}"
            )
        amount = budgets.fraction(value)
        text = f"{100 * amount:.4g}" if amount <= 1 else f"{amount:.6g}x"
        parts.append(f"{key}{text}")
    return "-".join(parts)


def _size(point):
    return tuple(budgets.fraction(v) for v in point.budget.values())
