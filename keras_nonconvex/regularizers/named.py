"""The regularizers of the papers, by name: a penalty in a generic one.

Each takes `strength`, the parameters of its penalty, and the options of
`Group` or `SparseGroup`.
"""

from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import MCP
from keras_nonconvex.penalties import SCAD
from keras_nonconvex.penalties import L1MinusL2
from keras_nonconvex.penalties import Lp
from keras_nonconvex.penalties import SquaredL1
from keras_nonconvex.penalties import TransformedL1
from keras_nonconvex.regularizers.generic import Group
from keras_nonconvex.regularizers.generic import SparseGroup


class GroupLasso(Group):
    """Group lasso: strength * sum_g s_g ||w_g||_2 (Yuan & Lin 2006)."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L1(), strength, **options)


class GroupL0(Group):
    """strength * sum_g s_g [w_g != 0]: acts through its prox alone."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L0(), strength, **options)


class GroupLp(Group):
    """strength * sum_g s_g ||w_g||_2^p (Hu, Li, Meng, Qin, Yang 2017)."""

    def __init__(self, strength=1e-4, p=0.5, **options):
        super().__init__(Lp(p), strength, **options)


class GroupTL1(Group):
    """strength * sum_g s_g TL1_a(||w_g||_2)."""

    def __init__(self, strength=1e-4, a=1.0, **options):
        super().__init__(TransformedL1(a), strength, **options)


class GroupMCP(Group):
    """Group MCP (Breheny & Huang 2015), of strength s_g * strength.

    With `knee=None` the knots follow that strength, as in the textbooks.
    """

    def __init__(self, strength=1e-4, gamma=3.0, knee=None, **options):
        super().__init__(MCP(gamma, knee), strength, **options)


class GroupSCAD(Group):
    """Group SCAD (Wang, Chen, Li 2007), of strength s_g * strength.

    With `knee=None` the knots follow that strength, as in the textbooks.
    """

    def __init__(self, strength=1e-4, a=3.7, knee=None, **options):
        super().__init__(SCAD(a, knee), strength, **options)


class SparseGroupL1(SparseGroup):
    """Sparse group lasso (Simon et al. 2013): L1 on weights, l2 on groups."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L1(), strength, **options)


class SparseGroupL0(SparseGroup):
    """L0 on the weights, l2 on the groups (Bui et al. 2021)."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L0(), strength, **options)


class SparseGroupL1L2(SparseGroup):
    """||w_g||_1 - alpha ||w_g||_2 and l2 on the groups (Bui et al. 2021).

    The l1-l2 term is per group. The paper's code has it over the whole layer,
    where it is not the prox of one group: that takes variable splitting.
    """

    def __init__(self, strength=1e-4, alpha=1.0, **options):
        super().__init__(L1MinusL2(alpha), strength, **options)


class SparseGroupLp(SparseGroup):
    """l_p on the weights, l2 on the groups."""

    def __init__(self, strength=1e-4, p=0.5, **options):
        super().__init__(Lp(p), strength, **options)


class SparseGroupTL1(SparseGroup):
    """Transformed L1 on the weights, l2 on the groups (Bui et al. 2021)."""

    def __init__(self, strength=1e-4, a=1.0, **options):
        super().__init__(TransformedL1(a), strength, **options)


class SparseGroupMCP(SparseGroup):
    """MCP on the weights, l2 on the groups; knots as in `penalties.MCP`."""

    def __init__(self, strength=1e-4, gamma=3.0, knee=None, **options):
        super().__init__(MCP(gamma, knee), strength, **options)


class SparseGroupSCAD(SparseGroup):
    """SCAD on the weights, l2 on the groups (Bui et al. 2021)."""

    def __init__(self, strength=1e-4, a=3.7, knee=None, **options):
        super().__init__(SCAD(a, knee), strength, **options)


class ExclusiveSparsity(SparseGroup):
    """strength / 2 * sum_g ||w_g||_1^2 + group_strength * sum_g ||w_g||_2.

    The weights of a group compete, and groups can go: combined group and
    exclusive sparsity, CGES (Yoon & Hwang 2017). In the paper the groups are
    the weights that leave one input unit ("positions"), the strengths
    mix * lambda and (1 - mix) * lambda, with `mix` rising from the first
    layer to the last. With group_strength=0 it is the exclusive lasso.
    """

    def __init__(
        self, strength=1e-4, groups="positions", group_weights=None, **options
    ):
        super().__init__(
            SquaredL1(),
            strength,
            groups,
            group_weights=group_weights,
            **options,
        )
