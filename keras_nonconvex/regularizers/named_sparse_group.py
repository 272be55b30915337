"""The sparse group regularizers, by name: one penalty in `SparseGroup`."""

import functools

from keras_nonconvex import checks
from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import MCP
from keras_nonconvex.penalties import SCAD
from keras_nonconvex.penalties import L1MinusL2
from keras_nonconvex.penalties import Lp
from keras_nonconvex.penalties import SquaredL1
from keras_nonconvex.penalties import TransformedL1
from keras_nonconvex.regularizers.base import Terms
from keras_nonconvex.regularizers.generic import Group
from keras_nonconvex.regularizers.generic import SparseGroup


class SparseGroupTL1(SparseGroup):
    """Sparse group penalty with transformed L1 on the weights.

    strength * sum_i TL1(|w_i|) + group_strength * sum_g s_g ||w_g||_2

    with TL1(t) = (a + 1) t / (a + t), which shrinks large weights less than
    small ones. In a `ProximalModel` whole groups become exactly zero, and
    single weights in the groups that stay; in another `keras.Model` it acts by
    its gradient.

    Reference: Bui, Park, Zhang, Qi, Xin, Structured Sparsity of Convolutional
    Neural Networks via Nonconvex Sparse Group Regularization, 2021.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        a: Number in (1e-6, 1e6). Towards 0 the penalty approaches L0, for
            large `a` L1. Defaults to `1.0`.
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
            is the composition of two simpler proxes, which is cheaper and
            further from the minimum. Defaults to `True`.
        decay: Number >= 0: decay / 2 * ||w||_2^2 is added, a weight decay
            that is part of the prox. It does not grow with the strengths.
            Defaults to `0.0`.

    Example:
    ```python
    layer = keras.layers.Conv2D(
        32, 3, kernel_regularizer=knc.SparseGroupTL1(1e-4, group_strength=1e-3)
    )
    # By name, with the default arguments:
    regularizer = knc.regularizers.get("sparse_group_tl1")
    ```
    """

    def __init__(
        self,
        strength=1e-4,
        a=1.0,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            TransformedL1(a),
            strength,
            groups,
            group_strength,
            group_weights,
            exact,
            decay,
        )


class SparseGroupL1(SparseGroup):
    """Sparse group lasso, with L1 on the weights.

    strength * sum_i |w_i| + group_strength * sum_g s_g ||w_g||_2

    Reference: Simon, Friedman, Hastie, Tibshirani, A Sparse-Group Lasso, 2013.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `"sqrt_size"`.
        exact: Boolean, without effect here: the composition of the two proxes
            is exact for L1. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            L1(), strength, groups, group_strength, group_weights, exact, decay
        )


class SparseGroupL0(SparseGroup):
    """Sparse group penalty with L0 on the weights (Bui et al. 2021).

    strength * sum_i [w_i != 0] + group_strength * sum_g s_g ||w_g||_2

    The count has no gradient, so it acts through its prox alone, in a
    `ProximalModel`.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `"sqrt_size"`.
        exact: Boolean, whether `proximal` is the exact joint prox, as for
            `SparseGroupTL1`. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            L0(), strength, groups, group_strength, group_weights, exact, decay
        )


class SparseGroupL1L2(SparseGroup):
    """Sparse group penalty with L1 - L2 on the weights (Bui et al. 2021).

    strength * sum_g (||w_g||_1 - alpha ||w_g||_2)
    + group_strength * sum_g s_g ||w_g||_2

    In the code of the paper the first sum is over layers, not groups:
    `over="layer"`. Its joint prox with the groups is not known, so
    `VariableSplitting` takes it, as in the paper, and other solvers its
    gradient.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        alpha: Number from 0 to 1, how much of the l2 norm is subtracted.
            Defaults to `1.0`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `"sqrt_size"`.
        exact: Boolean, whether `proximal` is the exact joint prox, as for
            `SparseGroupTL1`. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
        over: `"groups"` or `"layer"`: the weights whose two norms l1 - l2 is
            made of. Defaults to `"groups"`.
    """

    def __init__(
        self,
        strength=1e-4,
        alpha=1.0,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
        over="groups",
    ):
        super().__init__(
            L1MinusL2(alpha),
            strength,
            groups,
            group_strength,
            group_weights,
            exact,
            decay,
        )
        self.over = checks.choice("over", over, ("groups", "layer"))

    @property
    def has_prox(self):
        return self.over == "groups"

    def plain_value(self, w):
        if self.over == "groups":
            return super().plain_value(w)
        group, own = self.terms
        return group.plain_value(w) + own.plain_value(w)

    @functools.cached_property
    def terms(self):
        group, own = super().terms
        if self.over == "layer":
            own = Group(self.penalty, self.strength, "layer", None)
        return Terms(group, own)

    def get_config(self):
        return {**super().get_config(), "over": self.over}


class SparseGroupLp(SparseGroup):
    """Sparse group penalty with Lp on the weights.

    strength * sum_i |w_i|^p + group_strength * sum_g s_g ||w_g||_2

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        p: Number in (0, 1), the exponent. The smaller it is, the closer the
            penalty is to counting. Defaults to `0.5`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `"sqrt_size"`.
        exact: Boolean, whether `proximal` is the exact joint prox, as for
            `SparseGroupTL1`. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        p=0.5,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            Lp(p), strength, groups, group_strength, group_weights, exact, decay
        )


class SparseGroupMCP(SparseGroup):
    """Sparse group penalty with MCP on the weights.

    strength * sum_i MCP(|w_i|) + group_strength * sum_g s_g ||w_g||_2

    The formula of MCP is that of `penalties.MCP`.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        gamma: Number above 0: the penalty is constant from gamma * knee on.
            Defaults to `3.0`.
        knee: Number above 0, the magnitude that sets the knots; or None for
            `strength`, as in the textbooks. Defaults to `None`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `"sqrt_size"`.
        exact: Boolean, whether `proximal` is the exact joint prox, as for
            `SparseGroupTL1`. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        gamma=3.0,
        knee=None,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            MCP(gamma, knee),
            strength,
            groups,
            group_strength,
            group_weights,
            exact,
            decay,
        )


class SparseGroupSCAD(SparseGroup):
    """Sparse group penalty with SCAD on the weights (Bui et al. 2021).

    strength * sum_i SCAD(|w_i|) + group_strength * sum_g s_g ||w_g||_2

    The formula of SCAD is that of `penalties.SCAD`.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        a: Number above 2: the penalty is constant from a * knee on. Defaults to
            `3.7`.
        knee: Number above 0, the magnitude that sets the knots; or None for
            `strength`, as in the textbooks. Defaults to `None`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"filters"`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `"sqrt_size"`.
        exact: Boolean, whether `proximal` is the exact joint prox, as for
            `SparseGroupTL1`. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        a=3.7,
        knee=None,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            SCAD(a, knee),
            strength,
            groups,
            group_strength,
            group_weights,
            exact,
            decay,
        )


class ExclusiveSparsity(SparseGroup):
    """Combined group and exclusive sparsity, CGES (Yoon & Hwang 2017).

    strength / 2 * sum_g ||w_g||_1^2 + group_strength * sum_g s_g ||w_g||_2

    The weights of a group compete, and whole groups can go. In the paper the
    groups are the weights that leave one input unit (`"positions"`), `strength`
    is mix * lambda and `group_strength` (1 - mix) * lambda, with mix rising
    from the first layer to the last. With `group_strength=0` it is the
    exclusive lasso.

    Args:
        strength: Number >= 0, the factor on the weights. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for
            `SparseGroupTL1`. Defaults to `"positions"`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `SparseGroupTL1`. Defaults to `None`.
        group_strength: Number >= 0, the factor on the groups; or None for the
            same as `strength`. Defaults to `None`.
        exact: Boolean, whether `proximal` is the exact joint prox, as for
            `SparseGroupTL1`. Defaults to `True`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `SparseGroupTL1`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        groups="positions",
        group_weights=None,
        group_strength=None,
        exact=True,
        decay=0.0,
    ):
        super().__init__(
            SquaredL1(),
            strength,
            groups,
            group_strength,
            group_weights,
            exact,
            decay,
        )
