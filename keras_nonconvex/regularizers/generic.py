"""Strength x penalty over groups, for any penalty.

    Elementwise   strength sum_i r(|w_i|)
    Group         strength sum_g s_g r(||w_g||)
    SparseGroup   strength sum_i r(|w_i|) + group_strength sum_g s_g ||w_g||

with s_g = sqrt(size of g) (Yuan & Lin 2006; Bui, Park, Zhang, Qi, Xin 2021).
A penalty of a whole vector (`L1MinusL2`, `SquaredL1`) takes each group's
weights in place of their norm or of the single weights.
"""

import functools
import inspect

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex import penalties
from keras_nonconvex.penalties import L1
from keras_nonconvex.regularizers import joint_prox
from keras_nonconvex.regularizers import lookup
from keras_nonconvex.regularizers.base import Regularizer
from keras_nonconvex.regularizers.base import Terms


class OfPenalty(Regularizer, abstract=True):
    """A regularizer that is made from a penalty.

    Args:
        penalty: A penalty of `keras_nonconvex.penalties`.
        strength: Number >= 0, the factor of the penalty.
        decay: Number >= 0: decay / 2 * ||w||_2^2 is added, a weight decay
            that is part of the prox. It does not grow with the strengths.
            Defaults to `0.0`.
    """

    def __init__(self, penalty, strength, decay=0.0):
        super().__init__(strength, decay)
        if not isinstance(penalty, penalties.BasePenalty):
            raise ValueError(
                f"Argument `penalty` of {type(self).__name__} must be a "
                "penalty of `keras_nonconvex.penalties`. "
                f"Received: penalty={penalty!r}"
            )
        self.penalty = penalty

    def get_config(self):
        # A named class fixes the penalty's type and takes its parameters.
        if "penalty" in inspect.signature(type(self)).parameters:
            config = {
                "penalty": {
                    "class_name": type(self.penalty).__name__,
                    "config": self.penalty.get_config(),
                }
            }
        else:
            config = self.penalty.get_config()
        return {**config, **super().get_config()}

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("penalty"), (str, dict)):
            penalty = lookup.penalty(config["penalty"])
            config = {**config, "penalty": penalty}
        return cls(**config)


class Elementwise(OfPenalty):
    """strength * sum_i r(|w_i|): single weights become exactly zero.

    Args:
        penalty: A scalar penalty r of `keras_nonconvex.penalties`.
        strength: Number >= 0, the factor of the penalty.
        decay: Number >= 0: decay / 2 * ||w||_2^2 is added, a weight decay
            that is part of the prox. It does not grow with the strengths.
            Defaults to `0.0`.

    Example:
    ```python
    regularizer = knc.Elementwise(knc.penalties.MCP(gamma=3.0, knee=0.02), 1e-4)
    ```
    """

    def __init__(self, penalty, strength, decay=0.0):
        super().__init__(penalty, strength, decay)
        if not isinstance(penalty, penalties.Penalty):
            raise ValueError(
                "Argument `penalty` of Elementwise must be a penalty of "
                "single weights; for one of a whole vector write "
                "Group(penalty, strength, groups='layer', "
                f"group_weights=None). Received: penalty={penalty!r}"
            )

    def plain_value(self, w):
        penalty = self.penalty.at(self.strength)
        return self.strength * ops.sum(penalty.value(ops.abs(w)))

    def magnitude_prox(self, t, step):
        penalty = self.penalty.at(self.strength)
        return penalty.prox(t, step * self.strength)

    def of_columns(self):
        return self

    @property
    def terms(self):
        return Terms(None, self)


class Group(OfPenalty):
    """strength * sum_g s_g r(||w_g||): whole groups become exactly zero.

    Its prox acts on the norms: x_g = w_g prox_r(||w_g||) / ||w_g||. A vector
    penalty takes the weights of each group in place of their norm.

    Args:
        penalty: A penalty r of `keras_nonconvex.penalties`.
        strength: Number >= 0, the factor of the penalty.
        groups: String, or tuple of integers: which weights form a group.
            `"filters"` for all weights of one output channel,
            `"input_channels"` for all that read one input channel, `"kernels"`
            for one 2-D kernel, `"positions"` for one position of the filter
            shape, `"layer"` for the whole kernel, `"weights"` for single
            weights; or the kernel axes that one group spans. Defaults to
            `"filters"`.
        group_weights: `"sqrt_size"` for s_g = sqrt(size of g), None for s_g =
            1, or a sequence of numbers above 0, one per group. Defaults to
            `"sqrt_size"`.
        decay: Number >= 0: decay / 2 * ||w||_2^2 is added, a weight decay
            that is part of the prox. It does not grow with the strengths.
            Defaults to `0.0`.

    Example:
    ```python
    regularizer = knc.Group(knc.penalties.LogSum(0.1), 1e-4, groups="kernels")
    ```
    """

    def __init__(
        self,
        penalty,
        strength,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(penalty, strength, decay)
        self.groups = group_patterns.check(groups)
        self.group_weights = group_patterns.check_weights(group_weights)

    def group_axes(self, rank):
        return group_patterns.reduced_axes(self.groups, rank)

    def of_columns(self):
        if isinstance(self.group_weights, tuple):
            return None
        return self._with(groups=(0,))

    def _axes_and_strength(self, w, strength):
        axes = self.group_axes(len(w.shape))
        weights = group_patterns.weights_of(
            self.group_weights, w.shape, axes, w.dtype
        )
        return axes, strength * weights

    def plain_value(self, w):
        axes, strength = self._axes_and_strength(w, self.strength)
        penalty = self.penalty.at(strength)
        return ops.sum(strength * penalty.norm_value(ops.abs(w), axes))

    def magnitude_prox(self, t, step):
        axes, strength = self._axes_and_strength(t, self.strength)
        return self.penalty.at(strength).norm_prox(t, step * strength, axes)

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "group_weights": self.group_weights,
        }


class SparseGroup(Group):
    """strength * sum_i r(|w_i|) + group_strength * sum_g s_g ||w_g||_2.

    Whole groups become exactly zero, and single weights in the groups that
    stay. The prox minimises both terms jointly (`joint_prox.py`). A vector
    penalty takes the weights of each group in place of the single weights.

    Reference: Bui, Park, Zhang, Qi, Xin, Structured Sparsity of Convolutional
    Neural Networks via Nonconvex Sparse Group Regularization, 2021.

    Args:
        penalty: A penalty r of `keras_nonconvex.penalties`.
        strength: Number >= 0, the factor on the weights.
        groups: String, or tuple of integers: which weights form a group.
            `"filters"` for all weights of one output channel,
            `"input_channels"` for all that read one input channel, `"kernels"`
            for one 2-D kernel, `"positions"` for one position of the filter
            shape, `"layer"` for the whole kernel, `"weights"` for single
            weights; or the kernel axes that one group spans. Defaults to
            `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. To make filters zero rather than single
            weights, start with ten times `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"` for s_g = sqrt(size of g), None for s_g =
            1, or a sequence of numbers above 0, one per group. Defaults to
            `"sqrt_size"`.
        exact: Boolean, whether `proximal` is the exact joint prox. If False it
            is the composition of two simpler proxes, which is cheaper and,
            unless r is L1, further from the minimum. Defaults to `True`.
        decay: Number >= 0: decay / 2 * ||w||_2^2 is added, a weight decay
            that is part of the prox. It does not grow with the strengths.
            Defaults to `0.0`.

    Example:
    ```python
    regularizer = knc.SparseGroup(
        knc.penalties.LogSum(0.1), strength=1e-4, group_strength=1e-3
    )
    ```
    """

    strengths = ("strength", "group_strength")

    def __init__(
        self,
        penalty,
        strength,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(penalty, strength, groups, group_weights, decay)
        if group_strength is not None:
            group_strength = checks.number("group_strength", group_strength)
        self.group_strength = group_strength
        self.exact = bool(exact)

    def _group_term(self, w):
        strength = self.group_strength
        return self._axes_and_strength(
            w, self.strength if strength is None else strength
        )

    def plain_value(self, w):
        axes, group_strength = self._group_term(w)
        t, penalty = ops.abs(w), self.penalty.at(self.strength)
        return self.strength * ops.sum(
            penalty.weights_value(t, axes)
        ) + ops.sum(group_strength * group_patterns.norms(t, axes))

    @property
    def compiles(self):
        return self.exact and joint_prox.in_cases(self.penalty)

    def magnitude_prox(self, t, step):
        axes, group_strength = self._group_term(t)
        steps = step * self.strength, step * group_strength
        if self.exact:
            return joint_prox.prox(self.penalty, t, *steps, axes, self.strength)
        penalty = self.penalty.at(self.strength)
        return joint_prox.composition(penalty, t, *steps, axes)

    @functools.cached_property
    def terms(self):
        strength = self.group_strength
        group = Group(
            L1(),
            self.strength if strength is None else strength,
            self.groups,
            self.group_weights,
            self.decay,
        )
        if isinstance(self.penalty, penalties.Penalty):
            own = Elementwise(self.penalty, self.strength)
        else:
            own = Group(self.penalty, self.strength, self.groups, None)
        return Terms(group, own)

    def get_config(self):
        return {
            **super().get_config(),
            "group_strength": self.group_strength,
            "exact": self.exact,
        }
