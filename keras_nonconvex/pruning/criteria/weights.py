"""Criteria that look at the weights alone."""

import dataclasses
import math

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex.pruning.criteria.base import criterion
from keras_nonconvex.pruning.criteria.base import relative

__all__ = ["BNImportance", "BNScale", "GeometricMedian", "GroupNorm", "Random"]


@criterion("group_norm")
@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """The mean size of a filter's weights: `(mean |w|^p)^(1/p)`.

    The mean does not depend on how many weights a filter has. In units of the
    layer's mean, layers of different scale can be ranked together.

    Args:
        p: The norm, 1 or 2. Defaults to `2`.
        relative: Whether scores are in units of their layer's mean. Defaults
            to `True`.

    Example:
    >>> knc.prune(model, knc.pruning.criteria.GroupNorm(1), {"macs": 0.5})

    Reference:
    - Li et al., "Pruning Filters for Efficient ConvNets", 2017 (p = 1).
    """

    p: int = 2
    relative: bool = True

    def __post_init__(self):
        checks.choice("p", self.p, [1, 2])

    def __call__(self, trace):
        parts = []
        for use in trace.of_role("filter"):
            rows = use.rows()
            size = np.abs if self.p == 1 else np.square
            powers = size(rows, dtype="float64")
            norms = np.mean(powers, axis=1) ** (1 / self.p)
            parts.append((use, relative(norms) if self.relative else norms))
        return parts


@criterion("bn_scale")
@dataclasses.dataclass(frozen=True)
class BNScale:
    """`|gamma|` of batch normalization: network slimming.

    With the budget `{"channels": 1 - percent}` it is the papers' global rule;
    pre-activation networks need `select=True`. Channels without a scale stay.

    Args:
        form: `"global"` scores by `|gamma|` itself. `"optimal"` scores by the
            fraction of the layer's sum of `gamma^2` that this and all smaller
            ones have. Defaults to `"global"`.

    Example:
    >>> knc.prune(model, "bn_scale", {"channels": 0.4}, round_to=1)

    References:
    - Liu et al., "Learning Efficient Convolutional Networks through Network
      Slimming", 2017.
    - Ye et al., "Channel Pruning via Optimal Thresholding", 2020.
    """

    form: str = "global"

    def __post_init__(self):
        checks.choice("form", self.form, ["global", "optimal"])

    def __call__(self, trace):
        parts = []
        for use in trace.of_role("scale"):
            if len(use.variable.shape) != 1:
                continue
            scale = np.abs(use.values.astype("float64"))
            if self.form == "optimal":
                order = np.argsort(scale, kind="stable")
                share = np.cumsum(scale[order] ** 2)
                scale = np.empty_like(scale)
                scale[order] = share / max(share[-1], 1e-300)
            parts.append((use, scale))
        return parts


@criterion("bn_importance")
@dataclasses.dataclass(frozen=True)
class BNImportance:
    """What a ReLU behind batch normalization is expected to give.

    Each channel is taken for normal with mean beta and deviation |gamma|:

        E[max(0, z)] = |gamma| phi(beta / |gamma|) + beta Phi(beta / |gamma|)

    phi and Phi are the density and the distribution function of the standard
    normal distribution. Channels without a normalization stay.

    Example:
    >>> small = knc.prune(model, "bn_importance", {"macs": 0.5})

    Reference:
    - Oh et al., "Batch Normalization Tells You Which Filter is Important",
      2022.
    """

    def __call__(self, trace):
        layers = {}
        for use in trace.of_role("scale", "shift"):
            if len(use.variable.shape) == 1:
                key = (id(use.layer), use.ids.tobytes())
                layers.setdefault(key, {})[use.role] = use
        parts = []
        for uses in layers.values():
            use, *_ = uses.values()
            gamma, beta = (
                uses[role].values.astype("float64")
                if role in uses
                else np.full(len(use.ids), default)
                for role, default in (("scale", 1.0), ("shift", 0.0))
            )
            parts.append((use, _rectified_mean(beta, np.abs(gamma))))
        return parts


def _rectified_mean(mean, deviation):
    """The mean of max(0, z) for normal z, max(0, mean) if it is constant."""
    moving = deviation > 0
    ratio = mean / np.where(moving, deviation, 1.0)
    above = np.array([math.erfc(-r / math.sqrt(2.0)) / 2.0 for r in ratio])
    density = np.exp(-(ratio**2) / 2.0) / math.sqrt(2.0 * math.pi)
    varying = deviation * density + mean * above
    return np.where(moving, varying, np.maximum(mean, 0.0))


@criterion("geometric_median")
@dataclasses.dataclass(frozen=True)
class GeometricMedian:
    """The sum of a filter's distances to the layer's other filters (FPGM).

    The filters nearest to all others are the easiest to replace by them.
    Scores are in units of their layer's mean.

    Reference:
    - He et al., "Filter Pruning via Geometric Median for Deep Convolutional
      Neural Networks Acceleration", 2019.
    """

    def __call__(self, trace):
        parts = []
        for use in trace.of_role("filter"):
            filters = use.rows().astype("float64")
            squares = np.sum(filters**2, axis=1)
            products = filters @ filters.T
            distances = squares[:, None] + squares[None] - 2.0 * products
            total = np.sqrt(np.maximum(distances, 0.0)).sum(axis=1)
            parts.append((use, relative(total)))
        return parts


@criterion("random")
@dataclasses.dataclass(frozen=True)
class Random:
    """Uniform random scores: the baseline.

    Args:
        seed: The seed of the scores, an int. Defaults to `0`.
    """

    seed: int = 0

    def __call__(self, trace):
        return np.random.default_rng(self.seed).random(len(trace))
