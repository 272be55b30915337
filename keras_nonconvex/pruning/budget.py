"""Budgets: how much of the model may remain."""

import math

import numpy as np

QUANTITIES = ("params", "macs")


def check(budget):
    """Refuses a budget that means nothing for any model."""
    if not isinstance(budget, dict) or not budget:
        raise ValueError(
            "Argument `budget` must be a dict such as {'macs': 0.5}. "
            f"Received: budget={budget!r}"
        )
    for key, value in budget.items():
        if key not in QUANTITIES:
            raise ValueError(
                f"Argument `budget` counts {' or '.join(QUANTITIES)}. "
                f"Received: {key!r}"
            )
        number, relative = _parse(value)
        if not 0 < number or (number > 1 and (relative or number % 1)):
            raise ValueError(
                f"Budget '{key}' must be a fraction in (0, 1], a percentage "
                f"or an absolute number. Received: {value!r}"
            )


def absolute(budget, full):
    """{"macs": "40%"} -> {"macs": 917200}, given the full model's costs.

    Args:
        budget: Dict with keys "params", "macs"; values are what remains: a
            fraction up to 1, a percentage as a string, or an absolute number.
        full: The costs of the unpruned model.
    """
    check(budget)
    limits = {}
    for key, value in budget.items():
        number, relative = _parse(value)
        limit = number * full[key] if relative else number
        limits[key] = int(min(limit, full[key]))
    return limits


def _parse(value):
    """The number in `value`, and whether it is a fraction."""
    percentage = isinstance(value, str) and value.strip().endswith("%")
    try:
        if percentage:
            return float(value.strip()[:-1]) / 100, True
        number = float(value)
    except (TypeError, ValueError):
        return math.nan, False
    return number, number <= 1


def within(costs, limits):
    return all(costs[key] <= limit for key, limit in limits.items())


def shave(trace, order, least, limits, rounded):
    """The first set of kept classes that meets the limits.

    Args:
        trace: The channel graph.
        order: The classes that may go, the first to go first.
        least: How many of them go at least.
        limits: Absolute limits.
        rounded: Function keep -> keep that makes a choice legal.

    Returns:
        One bool per id; the closest choice there is where the limits cannot
        be met.
    """

    def dropping(count):
        keep = np.ones(len(trace), dtype=bool)
        keep[order[:count]] = False
        return rounded(keep)

    low, high = least, len(order)
    while low < high:
        middle = (low + high) // 2
        if within(trace.costs(dropping(middle)), limits):
            high = middle
        else:
            low = middle + 1
    return dropping(low)
