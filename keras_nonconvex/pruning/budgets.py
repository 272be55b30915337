"""Budgets: how much of the model may remain, and how that is measured."""

import math

# These are counted from the channel graph, all others on the rebuilt model.
COUNTED = ("params", "macs")
MEASURES = {}


def measure(name):
    """Decorator: makes `{name: limit}` a budget.

    The function takes a Keras model and returns a number, the less the
    better, such as a file's bytes or a latency. A plan calls it on the small
    model of each choice that it tries.

    Args:
        name: The budget's key, a string.

    Example:
    >>> @knc.pruning.measure("layers")
    ... def layers(model):
    ...     return len(model.layers)
    >>> knc.prune(model, budget={"layers": 0.9})
    """

    def register(function):
        MEASURES[name] = function
        return function

    return register


def check(budget):
    """Refuses a budget that means nothing for any model.

    Args:
        budget: As in `plan`.

    Raises:
        ValueError: If it is not a dict of known keys and legal values.
    """
    if not isinstance(budget, dict) or not budget:
        raise ValueError(
            "Argument `budget` must be a dict such as {'macs': 0.5}. "
            f"Received: budget={budget!r}"
        )
    for key, value in budget.items():
        if key == "channels":
            parts = value.values() if isinstance(value, dict) else [value]
            for part in parts or [None]:
                number, relative = _parse(part)
                if not (relative and 0 <= number <= 1):
                    raise ValueError(
                        "Budget 'channels' must be the fraction that stays, "
                        "in [0, 1], or a dict of layer name patterns and such "
                        f"fractions. Received: {value!r}"
                    )
            continue
        if key not in (*COUNTED, *MEASURES):
            known = [*COUNTED, "channels", *MEASURES]
            hint = (
                " ('size' and 'latency' come with `import tflite_export`)"
                if key in ("size", "latency")
                else ""
            )
            raise ValueError(
                f"Argument `budget` counts {', '.join(known)}{hint}. "
                f"Received: {key!r}"
            )
        number, relative = _parse(value)
        whole = number % 1 == 0 or key in MEASURES
        if not 0 < number or (number > 1 and (relative or not whole)):
            raise ValueError(
                f"Budget '{key}' must be a fraction in (0, 1], a percentage "
                f"or an absolute number. Received: {value!r}"
            )


def absolute(budget, full):
    """A budget in absolute numbers: {"macs": "40%"} -> {"macs": 917200}.

    Args:
        budget: As in `plan`. "channels" is left out.
        full: {key: costs of the whole model}.

    Returns:
        {key: what may remain}.
    """
    limits = {}
    for key, value in budget.items():
        if key == "channels":
            continue
        number, relative = _parse(value)
        limit = min(number * full[key] if relative else number, full[key])
        limits[key] = int(limit) if key in COUNTED else limit
    return limits


def fraction(value):
    """A fraction or percentage as a number.

    Args:
        value: A number, or a string such as "40%".
    """
    return _parse(value)[0]


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
    """Whether costs meet all limits.

    Args:
        costs: {key: number}.
        limits: {key: greatest number}, for some of these keys.
    """
    return all(costs[key] <= limit for key, limit in limits.items())
