"""The group regularizers of the papers, by name: one penalty in `Group`."""

from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import MCP
from keras_nonconvex.penalties import SCAD
from keras_nonconvex.penalties import Lp
from keras_nonconvex.penalties import TransformedL1
from keras_nonconvex.regularizers.generic import Group


class GroupLasso(Group):
    """Group lasso: strength * sum_g s_g ||w_g||_2 (Yuan & Lin 2006).

    The convex one: it shrinks all groups by the same amount, and zeros those
    that are smaller.

    Args:
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
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
    layer = keras.layers.Dense(
        64, kernel_regularizer=knc.GroupLasso(1e-3, groups="input_channels")
    )
    ```
    """

    def __init__(
        self,
        strength=1e-4,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(L1(), strength, groups, group_weights, decay)


class GroupL0(Group):
    """Group L0: strength * sum_g s_g [w_g != 0].

    It counts the groups that are not zero. The count has no gradient, so it
    acts through its prox alone, in a `ProximalModel`.

    Args:
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
        groups: A group pattern or a tuple of kernel axes, as for `GroupLasso`.
            Defaults to `"filters"`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `GroupLasso`. Defaults to `"sqrt_size"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `GroupLasso`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(L0(), strength, groups, group_weights, decay)


class GroupLp(Group):
    """Group Lp: strength * sum_g s_g ||w_g||_2^p.

    Reference: Hu, Li, Meng, Qin, Yang, Group Sparse Optimization via lp,q
    Regularization, 2017.

    Args:
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
        p: Number in (0, 1), the exponent. The smaller it is, the closer the
            penalty is to counting. Defaults to `0.5`.
        groups: A group pattern or a tuple of kernel axes, as for `GroupLasso`.
            Defaults to `"filters"`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `GroupLasso`. Defaults to `"sqrt_size"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `GroupLasso`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        p=0.5,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(Lp(p), strength, groups, group_weights, decay)


class GroupTL1(Group):
    """Group transformed L1: strength * sum_g s_g TL1(||w_g||_2).

    TL1(t) = (a + 1) t / (a + t) (Zhang & Xin 2017).

    Args:
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
        a: Number in (1e-6, 1e6). Towards 0 the penalty approaches L0, for
            large `a` L1. Defaults to `1.0`.
        groups: A group pattern or a tuple of kernel axes, as for `GroupLasso`.
            Defaults to `"filters"`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `GroupLasso`. Defaults to `"sqrt_size"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `GroupLasso`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        a=1.0,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(
            TransformedL1(a), strength, groups, group_weights, decay
        )


class GroupMCP(Group):
    """Group MCP: strength * sum_g s_g MCP(||w_g||_2).

    Reference: Breheny & Huang, Group descent algorithms for nonconvex penalized
    regression, 2015. The formula is that of `penalties.MCP`.

    Args:
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
        gamma: Number above 0: the penalty is constant from gamma * knee on.
            Defaults to `3.0`.
        knee: Number above 0, the norm that sets the knots; or None for s_g *
            strength, as in the textbooks. Defaults to `None`.
        groups: A group pattern or a tuple of kernel axes, as for `GroupLasso`.
            Defaults to `"filters"`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `GroupLasso`. Defaults to `"sqrt_size"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `GroupLasso`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        gamma=3.0,
        knee=None,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(
            MCP(gamma, knee), strength, groups, group_weights, decay
        )


class GroupSCAD(Group):
    """Group SCAD: strength * sum_g s_g SCAD(||w_g||_2).

    Reference: Wang, Chen, Li, Group SCAD regression analysis for microarray
    time course gene expression data, 2007. The formula is that of
    `penalties.SCAD`.

    Args:
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
        a: Number above 2: the penalty is constant from a * knee on. Defaults to
            `3.7`.
        knee: Number above 0, the norm that sets the knots; or None for s_g *
            strength, as in the textbooks. Defaults to `None`.
        groups: A group pattern or a tuple of kernel axes, as for `GroupLasso`.
            Defaults to `"filters"`.
        group_weights: `"sqrt_size"`, None or a sequence of one number per
            group, as for `GroupLasso`. Defaults to `"sqrt_size"`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `GroupLasso`. Defaults to `0.0`.
    """

    def __init__(
        self,
        strength=1e-4,
        a=3.7,
        knee=None,
        groups="filters",
        group_weights="sqrt_size",
        decay=0.0,
    ):
        super().__init__(SCAD(a, knee), strength, groups, group_weights, decay)
