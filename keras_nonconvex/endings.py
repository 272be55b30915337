"""In which set the outputs of a model lie, told by what its last layers do."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import graph

# Shares: numbers >= 0 that sum to 1 along the last axis, as of a softmax.
SHARES = "shares"
# Each number alone lies in [0, 1], as of a sigmoid.
UNIT = "unit"
# Numbers of both signs without a bound, as of a linear layer.
REAL = "real"

# Numbers of float16 that should sum to 1 do so up to this.
_TOLERANCE = 1e-2
# The size that stands for a free one.
_FREE = 4


def endings(model):
    """The set in which each output of a model lies, whatever its weights are.

    Activations are judged by the values that they return, not by their names:
    a softmax may be an activation, a layer, a function or an operation, and
    may be reshaped or averaged afterwards.

    Args:
        model: A functional or Sequential model.

    Returns:
        A list with one of `SHARES`, `UNIT`, `REAL` per output, or `None` where
        it is none of them.
    """
    flat = graph.flattened(model)
    makers = {id(t): call for call in flat.calls for t in call.outputs}
    known = {}
    return [_set_of(tensor, makers, known) for tensor in flat.outputs]


def _set_of(tensor, makers, known):
    if id(tensor) not in known:
        known[id(tensor)] = _found(tensor, makers, known)
    return known[id(tensor)]


def _found(tensor, makers, known):
    call = makers[id(tensor)]
    if call.node.is_input:
        return None
    activation = _activation(call.operation)
    if activation is not None:
        return _judged(lambda values: activation(*values), [tensor], [REAL])
    # What comes into a layer with weights does not matter.
    weighted = bool(getattr(call.operation, "weights", ()))
    sets = [
        REAL if weighted else _set_of(t, makers, known) for t in call.inputs
    ]
    place = [id(t) for t in call.outputs].index(id(tensor))
    return _judged(
        lambda values: graph.outputs_for(call, values)[place],
        call.inputs,
        sets,
    )


def _activation(operation):
    """The activation that makes the outputs of one of Keras' own layers."""
    while isinstance(operation, keras.layers.Wrapper):
        operation = operation.layer
    own = type(operation).__module__.startswith("keras.")
    if own and getattr(operation, "weights", ()):
        return getattr(operation, "activation", None)
    return None


def _judged(function, tensors, sets):
    """The set of a function's values, by a few of them.

    Args:
        function: A function of a list of tensors.
        tensors: Symbolic tensors whose shapes and dtypes these have.
        sets: The set of each, or None.
    """
    try:
        plus, minus = (
            _values(function, tensors, sets, sign) for sign in (1.0, -1.0)
        )
    except Exception:
        # A layer may refuse random numbers in any way, token ids for example.
        return None
    both = np.stack([plus, minus])
    if both.ndim < 3 or not both.size or not np.isfinite(both).all():
        return None
    several = both.shape[-1] > 1
    if several and both.min() >= 0 and _near_one(both.sum(-1)):
        return SHARES
    # Logarithms of shares are logits: their softmax gives the shares.
    if several and _near_one(np.exp(both).sum(-1)):
        return REAL
    # s(-z) = 1 - s(z) for the sigmoid s; clipping, for one, is not like that.
    in_unit = both.min() >= 0 and both.max() <= 1
    if in_unit and _near_one(plus + minus):
        return UNIT
    if None not in sets and both.min() < -1 and both.max() > 1:
        return REAL
    return None


def _near_one(values):
    return bool(np.abs(values - 1).max() < _TOLERANCE)


def _values(function, tensors, sets, sign):
    """The function at random inputs, or at those with the other sign."""
    rng = np.random.default_rng(0)
    inputs = []
    for tensor, kind in zip(tensors, sets, strict=True):
        shape = [2, *(_FREE if n is None else n for n in tensor.shape[1:])]
        # Small and large ones.
        logits = sign * rng.normal(size=shape)
        logits *= 10 ** rng.uniform(-1.0, 1.5, size=shape)
        if kind == SHARES:
            values = np.exp(logits - logits.max(-1, keepdims=True))
            values /= values.sum(-1, keepdims=True)
        else:
            values = logits if kind != UNIT else 1 / (1 + np.exp(-logits))
        inputs.append(ops.convert_to_tensor(values, tensor.dtype))
    return ops.convert_to_numpy(function(inputs)).astype("float64")
