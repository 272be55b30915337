"""The least strength at which a penalty holds what it removes.

A weight stays zero where prox(-step * gradient) = 0. A penalty that fixes a
count has k groups that live; for it, the others stay zero where the gradient
does not outweigh what the penalty has there, the larger the k groups are.
"""

import contextlib
import math

import numpy as np
from keras import ops

from keras_nonconvex import data_loss
from keras_nonconvex.solvers.state import read


def strengths(model, targets, x, y, batch_size, step):
    """The least strength of each penalty of a model.

    Args:
        model: A compiled `ProximalModel`.
        targets: A list of (variable, its regularizer).
        x: Inputs, arrays.
        y: Targets, arrays, or None.
        batch_size: A whole number >= 1.
        step: A number above 0, the step of the prox.

    Returns:
        A dict of weight path -> number; that of coupled groups is
        `"coupled"`.
    """
    penalised = [
        (variable.path, reg, [variable], lambda values: values[0])
        for variable, reg in targets
    ]
    coupled = model.coupled
    if coupled is not None and coupled.strength > 0:
        penalised.append(
            ("coupled", coupled.term, coupled.variables, coupled.norms)
        )
    zeroed = {
        id(variable)
        for _, reg, variables, _ in penalised
        if not reg.counts
        for variable in variables
    }
    with _resting(model, targets):
        there = data_loss.mean(model, x, y, batch_size, zeroed)
        points = {
            path: of([read(v) for v in variables])
            for path, _, variables, of in penalised
        }
    found, here = {}, None
    for path, reg, variables, of in penalised:

        def gradient(gradients, variables=variables, of=of):
            # Signs play no part in a prox, and norms are those of classes.
            return of(
                [ops.cast(gradients[id(v)], "float32") for v in variables]
            )

        found[path] = _least(reg, points[path], gradient(there), step)
        if not found[path]:
            # Layers hide each other, and a ReLU what is zero.
            here = here or data_loss.mean(model, x, y, batch_size)
            found[path] = _least(reg, points[path], gradient(here), step)
    return found


def _least(reg, point, gradient, step):
    if reg.counts:
        held = reg.holding_strength(point, gradient)
        return float(ops.convert_to_numpy(held))
    return reg.strength * _multiplier(reg, gradient, step)


@contextlib.contextmanager
def _resting(model, targets):
    """The scope in which penalties that fix a count have it already."""
    resting = [(v, reg.resting(read(v))) for v, reg in targets if reg.counts]
    coupled = model.coupled
    if coupled is not None and coupled.term.counts:
        values = [read(v) for v in coupled.variables]
        new = coupled.applied(coupled.term.resting, values)
        resting += zip(coupled.variables, new, strict=True)
    kept = [(variable, read(variable)) for variable, _ in resting]
    try:
        for variable, value in resting:
            variable.assign(value)
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)


def _multiplier(reg, gradient, step):
    """The least m at which the prox of m * reg zeroes -step * gradient."""
    point = ops.cast(-step * gradient, "float32")
    if not np.any(ops.convert_to_numpy(point)):
        return 0.0

    def dead(m):
        scaled = reg.scaled(ops.convert_to_tensor(m, "float32"))
        left = scaled.proximal(point, step)
        return not np.any(ops.convert_to_numpy(left) != 0)

    low, high = 0.0, 1.0
    while not dead(high):
        low, high = high, 4.0 * high
        if high > 1e15:
            raise ValueError(
                "This regularizer leaves some weights alive at any strength. "
                f"Received: regularizer={reg!r}"
            )
    while dead(high / 4.0) and high > 1e-15:
        high /= 4.0
    low = max(low, high / 4.0)
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if dead(middle) else (middle, high)
    return high
