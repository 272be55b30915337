"""Hypothesis strategies read off the declared parameter ranges."""

import dataclasses
import math

import numpy as np
from hypothesis import strategies as st

from keras_nonconvex import penalties


def log_uniform(low, high):
    return st.floats(math.log(low), math.log(high)).map(math.exp)


def parameters(field):
    """Legal values of a penalty's field, by its declared range."""
    if field.metadata["optional"]:
        return st.none() | log_uniform(1e-2, 1e2)
    if field.metadata["closed"]:
        low, high = field.metadata["above"], field.metadata["below"]
        return st.sampled_from([low, high]) | st.floats(low, high)
    low = max(field.metadata["above"], -1e2)
    high = min(field.metadata["below"], 1e2)
    if low >= 0 and high == 1e2:
        return log_uniform(1e-2, 1e2).map(lambda above: low + above)
    margin = 1e-2 * (high - low)
    return st.floats(low + margin, high - margin)


def penalty(cls):
    """Legal instances of one penalty class."""
    return st.builds(
        cls,
        **{f.name: parameters(f) for f in dataclasses.fields(cls)},
    )


def any_penalty(names=None):
    """Legal instances of every registered penalty, or of those named."""
    return st.sampled_from(sorted(names or penalties.REGISTRY)).flatmap(
        lambda name: penalty(penalties.REGISTRY[name])
    )


def is_vector(name):
    return issubclass(penalties.REGISTRY[name], penalties.VectorPenalty)


SCALAR = sorted(n for n in penalties.REGISTRY if not is_vector(n))
VECTOR = sorted(n for n in penalties.REGISTRY if is_vector(n))


def steps(penalty):
    """Steps of all sizes, and right around a switch of regime."""
    general = log_uniform(1e-6, 1e2)
    curvature = penalty.weak_convexity
    if not 0 < curvature < math.inf:
        return general
    near = st.sampled_from([0.5, 0.99, 0.999999, 1.0, 1.000001, 1.01, 2.0])
    return general | near.map(lambda factor: factor / curvature)


def array(shape, scale=1.0):
    """Float64 arrays with exact zeros and ties among the values."""
    return st.integers(0, 2**32 - 1).map(
        lambda seed: _array(np.random.default_rng(seed), shape, scale)
    )


def _array(rng, shape, scale):
    w = rng.normal(size=shape) * scale
    w[rng.random(shape) < 0.1] = 0.0
    ties = rng.random(shape) < 0.1
    w[ties] = scale * rng.choice([-1.0, 1.0], size=int(ties.sum()))
    return w
