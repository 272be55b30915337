"""Checks of arguments: one sentence that says what was expected."""

import math
import operator


def number(name, value, expected, legal):
    """`value` as a finite float for which `legal` holds.

    Args:
        name: The argument.
        value: What came.
        expected: What it must be, "a number in [0, 1)".
        legal: A function of the float.
    """
    try:
        found = float(value)
        if math.isfinite(found) and legal(found):
            return found
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"Argument `{name}` must be {expected}. Received: {name}={value!r}"
    )


def whole(name, value, least, unit=""):
    """`value` as an int that is at least `least`."""
    try:
        if not isinstance(value, bool) and operator.index(value) >= least:
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(
        f"Argument `{name}` must be a whole number{unit} >= {least}. "
        f"Received: {name}={value!r}"
    )


def choice(name, value, choices):
    """`value`, if it is one of `choices`."""
    if value not in list(choices):
        raise ValueError(
            f"Argument `{name}` must be one of "
            f"{', '.join(map(repr, choices))}. Received: {name}={value!r}"
        )
    return value
