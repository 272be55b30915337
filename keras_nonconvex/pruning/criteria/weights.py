"""Criteria that look at the weights alone."""

import dataclasses

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex.pruning.criteria.base import criterion


def _relative(scores):
    """Scores in units of their layer's mean, over what is not zero."""
    alive = scores[scores > 0]
    return scores / alive.mean() if len(alive) else scores


@criterion("group_norm")
@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """The mean size of the weights of a class's filters.

    (mean |w|^p)^(1/p) per filter, so that it does not depend on a filter's
    size; then in units of the layer's mean, so that layers of different scale
    can be ranked together (Li et al. 2017 with p=1).

    Args:
        p: 1 or 2.
        relative: Whether each layer is measured by its own mean.
    """

    p: int = 2
    relative: bool = True

    def __post_init__(self):
        checks.choice("p", self.p, [1, 2])

    def __call__(self, trace):
        parts = []
        for use in trace.of_role("filter"):
            size = np.abs(use.rows().astype("float64"))
            norms = np.mean(size**self.p, axis=1) ** (1 / self.p)
            parts.append((use, _relative(norms) if self.relative else norms))
        return parts


@criterion("bn_scale")
@dataclasses.dataclass(frozen=True)
class BNScale:
    """|gamma| of batch normalization: network slimming (Liu et al. 2017).

    With the budget {"channels": 1 - percent} it is the papers' global rule;
    pre-activation networks need `select=True`. Channels without a scale stay.

    Args:
        form: "global" for |gamma| itself; "optimal" for the part of its
            layer's sum of gamma^2 that it and all smaller ones have: the
            local form of Ye et al. 2020 (optimal thresholding).
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


@criterion("geometric_median")
@dataclasses.dataclass(frozen=True)
class GeometricMedian:
    """Mean distance to the layer's other filters: FPGM (He et al. 2019).

    The filters nearest to all others can best be stood for by them.
    """

    def __call__(self, trace):
        parts = []
        for use in trace.of_role("filter"):
            filters = use.rows().astype("float64")
            squares = np.sum(filters**2, axis=1)
            products = filters @ filters.T
            distances = squares[:, None] + squares[None] - 2.0 * products
            total = np.sqrt(np.maximum(distances, 0.0)).sum(axis=1)
            parts.append((use, _relative(total)))
        return parts


@criterion("random")
@dataclasses.dataclass(frozen=True)
class Random:
    """Uniform random scores: the baseline.

    Args:
        seed: Seed of the scores.
    """

    seed: int = 0

    def __call__(self, trace):
        return np.random.default_rng(self.seed).random(len(trace))
