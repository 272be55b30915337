"""Hierarchical group sparse regularization: kernels inside channels.

Mitsuno, Miyao, Kurita, Hierarchical Group Sparse Regularization for Deep
Convolutional Neural Networks, 2020. A base penalty of each 2-D kernel is
summed over an outer group, all kernels that read one input channel
("feature") or all of one filter ("neuron"), and wrapped:

    base              plain                wrap="root"       wrap="square"
    "group_lasso" a   sum_G ||w_G||_2      sqrt(sum a)       (sum a)^2
    "exclusive"   b^2 sum_G ||w_G||_1^2    sqrt(sum b^2)     (sum b^2)^2
    "group_half"  b^.5  sum_G sqrt||w_G||_1  sqrt(sum b^.5)  (sum b^.5)^2

with a = ||w||_2 and b = ||w||_1 of a kernel and, as in the paper, no weights
for the size of a group.
"""

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import Lp
from keras_nonconvex.penalties import SquaredL1
from keras_nonconvex.regularizers.base import Regularizer
from keras_nonconvex.tensors import maximum

# The square root with a gradient that is zero at 0 and stays finite near it.
_root = Lp(0.5).value
_FLOOR = 1e-8


def _l1(t, axes):
    return ops.sum(t, axis=axes, keepdims=True)


_BASES = {
    "group_lasso": group_patterns.norms,
    "exclusive": lambda t, axes: ops.square(_l1(t, axes)),
    "group_half": lambda t, axes: _root(_l1(t, axes)),
}
_WRAPS = {"none": None, "root": _root, "square": ops.square}
_GROUPINGS = {"feature": "input_channels", "neuron": "filters"}


class HierarchicalGroup(Regularizer):
    """strength * sum over outer groups of a wrapped base penalty.

    The prox is exact for the group lasso, plain and squared, and for plain
    exclusive sparsity. The three `"group_half"` penalties are concave in the
    l1 norms of the kernels, so `proximal` puts their tangent in their place: a
    weighted soft threshold, which never raises the objective and gives exact
    zeros. The others (rooted group lasso, rooted and squared exclusive
    sparsity) have no prox and train by their gradient.

    Args:
        base: `"group_lasso"`, `"exclusive"` or `"group_half"`: the penalty of
            one 2-D kernel. Defaults to `"group_half"`.
        wrap: `"none"`, `"root"` or `"square"`: the function of the sum over an
            outer group. Defaults to `"square"`.
        grouping: `"feature"`, where an outer group holds all kernels that read
            one input channel, or `"neuron"`, where it holds all of one
            filter; or two tuples of kernel axes, those that an outer group
            and those that a 2-D kernel spans. Defaults to `"feature"`.
        strength: Number >= 0, the factor of the penalty. Defaults to `1e-4`.
        l1_strength: Number >= 0, the factor of an additional L1 penalty of
            the single weights. Defaults to `0.0`.
        decay: Number >= 0, the factor of an added ||w||_2^2 / 2, as for
            `Group`. Defaults to `0.0`.

    Example:
    ```python
    layer = keras.layers.Conv2D(
        32, 3, kernel_regularizer=knc.HierarchicalGroup(strength=1e-5)
    )
    ```
    """

    strengths = ("strength", "l1_strength")

    def __init__(
        self,
        base="group_half",
        wrap="square",
        grouping="feature",
        strength=1e-4,
        l1_strength=0.0,
        decay=0.0,
    ):
        super().__init__(strength, decay)
        self.base = checks.choice("base", base, _BASES)
        self.wrap = checks.choice("wrap", wrap, _WRAPS)
        if isinstance(grouping, (tuple, list)) and len(grouping) == 2:
            self.grouping = tuple(map(group_patterns.check, grouping))
        else:
            self.grouping = checks.choice("grouping", grouping, _GROUPINGS)
        self.l1_strength = checks.number("l1_strength", l1_strength)

    @classmethod
    def released(
        cls,
        strength=1e-3,
        mix=0.5,
        base="group_half",
        wrap="square",
        grouping="feature",
        decay=0.0,
    ):
        """Returns the combination in the training script of the authors.

        It is mix * strength times the squared group_half over input channels,
        plus (1 - mix) * strength times L1.

        Args:
            strength: Number >= 0, the factor of both. Defaults to `1e-3`.
            mix: Number from 0 to 1. Defaults to `0.5`.
            base: As for the class. Defaults to `"group_half"`.
            wrap: As for the class. Defaults to `"square"`.
            grouping: As for the class. Defaults to `"feature"`.
            decay: As for the class. Defaults to `0.0`.
        """
        strength = checks.number("strength", strength)
        mix = checks.number(
            "mix", mix, "a number from 0 to 1", lambda mix: 0.0 <= mix <= 1.0
        )
        parts = mix * strength, (1.0 - mix) * strength
        return cls(base, wrap, grouping, *parts, decay)

    @property
    def exact(self):
        return self.base != "group_half"

    @property
    def has_prox(self):
        return (self.base, self.wrap) in _PROXES

    def _axes(self, rank):
        """The axes that an outer group and a 2-D kernel in it span."""
        return tuple(
            group_patterns.reduced_axes(part, rank)
            for part in self._patterns(rank)
        )

    def _patterns(self, rank):
        if not isinstance(self.grouping, str):
            return self.grouping
        # In a dense layer the 2-D kernels are single weights.
        return _GROUPINGS[self.grouping], "kernels" if rank > 2 else "weights"

    def group_axes(self, rank):
        return self._axes(rank)[0]

    def for_layout(self, rank, layout):
        if not isinstance(self.grouping, str):
            return self
        needed = tuple(
            group_patterns.reduced_axes(part, rank, layout)
            for part in self._patterns(rank)
        )
        if needed == self._axes(rank):
            return self
        return type(self)(**{**self.get_config(), "grouping": needed})

    def plain_value(self, w):
        t = ops.abs(w)
        outer, kernel = self._axes(len(w.shape))
        base, wrap = _BASES[self.base], _WRAPS[self.wrap]
        if wrap is None:
            inner = base(t, outer)
        else:
            inner = wrap(ops.sum(base(t, kernel), axis=outer, keepdims=True))
        return self.strength * ops.sum(inner) + self.l1_strength * ops.sum(t)

    def magnitude_prox(self, t, step):
        # With the L1 term, soft thresholding first and the other prox after
        # it is exact: no other prox changes a sign or revives a zero.
        prox = _PROXES[self.base, self.wrap]
        soft = L1().prox(t, step * self.l1_strength)
        return prox(soft, t, step * self.strength, *self._axes(t.ndim))

    def get_config(self):
        return {
            "base": self.base,
            "wrap": self.wrap,
            "grouping": self.grouping,
            **super().get_config(),
            "l1_strength": self.l1_strength,
        }


# Each prox takes the magnitudes after and before the prox of the L1 term, the
# step, and the axes that an outer group and a 2-D kernel span.


def _block_shrinkage(soft, t, step, outer, kernel):
    return L1().norm_prox(soft, step, outer)


def _exclusive(soft, t, step, outer, kernel):
    return SquaredL1().prox(soft, 2.0 * step, outer)


def _exclusive_of_norms(soft, t, step, outer, kernel):
    norms = group_patterns.norms(soft, kernel)
    left = SquaredL1().prox(norms, 2.0 * step, outer)
    return group_patterns.rescaled(soft, norms, left)


def _tangent(slope):
    def prox(soft, t, step, outer, kernel):
        return L1().prox(soft, step * slope(_l1(t, kernel), outer))

    return prox


def _slope_of_root(b, outer):
    return 0.5 / ops.sqrt(maximum(_l1(b, outer), _FLOOR))


def _slope_of_root_of_roots(b, outer):
    total = maximum(_l1(ops.sqrt(b), outer), _FLOOR)
    return 0.25 / ops.sqrt(total * maximum(b, _FLOOR))


def _slope_of_square_of_roots(b, outer):
    return _l1(ops.sqrt(b), outer) / ops.sqrt(maximum(b, _FLOOR))


_PROXES = {
    ("group_lasso", "none"): _block_shrinkage,
    ("group_lasso", "square"): _exclusive_of_norms,
    ("exclusive", "none"): _exclusive,
    ("group_half", "none"): _tangent(_slope_of_root),
    ("group_half", "root"): _tangent(_slope_of_root_of_roots),
    ("group_half", "square"): _tangent(_slope_of_square_of_roots),
}
