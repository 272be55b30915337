"""What a penalty is, and the registry that every generic test walks."""

import dataclasses
import functools
import math

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns


def parameter(
    default, *, above=-math.inf, below=math.inf, closed=False, optional=False
):
    """A penalty's parameter and its legal range.

    The range is validator, documentation and test strategy in one. It is open
    unless `closed`; an `optional` parameter may be None.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "above": above,
            "below": below,
            "closed": closed,
            "optional": optional,
        },
    )


def _in_range(field, number):
    low, high = field.metadata["above"], field.metadata["below"]
    if field.metadata["closed"]:
        return low <= number <= high
    return low < number < high


def _range_in_words(field):
    low, high = field.metadata["above"], field.metadata["below"]
    closed = field.metadata["closed"]
    above, below = (">=", "<=") if closed else ("above", "below")
    bounds = [f"{above} {low:g}"] if low > -math.inf else []
    bounds += [f"{below} {high:g}"] if high < math.inf else []
    also = ", or None" if field.metadata["optional"] else ""
    return f"a finite number {' and '.join(bounds)}{also}"


REGISTRY = {}


@dataclasses.dataclass(frozen=True)
class Penalty:
    """A penalty r(t) on magnitudes t >= 0, with r(0) = 0, nondecreasing.

    Subclasses state `value`, `prox` and two facts the solvers ask for:

    - `slope_at_zero`: r'(0+), infinite for a penalty with a jump at 0.
    - `weak_convexity`: the smallest rho for which r(t) + rho t^2 / 2 is
      convex. With step * rho <= 1 the prox is continuous; beyond, it jumps.
    """

    def __init_subclass__(cls, abstract=False, **kwargs):
        super().__init_subclass__(**kwargs)
        if not abstract:
            REGISTRY[cls.__name__] = cls

    def __post_init__(self):
        for field in dataclasses.fields(self):
            received = getattr(self, field.name)
            if field.metadata["optional"] and received is None:
                continue
            number = checks.number(
                field.name,
                received,
                f"{_range_in_words(field)}, in {type(self).__name__}",
                functools.partial(_in_range, field),
            )
            object.__setattr__(self, field.name, number)

    def at(self, strength):
        """The penalty where it is used with `strength`: itself.

        MCP, SCAD and CEL0 set their knots by it.
        """
        return self

    def value(self, t):
        """r(t), elementwise, for magnitudes t >= 0."""
        raise NotImplementedError

    def prox(self, t, step):
        """argmin_{x >= 0} step * r(x) + (x - t)^2 / 2, elementwise.

        `step` is a number or a tensor that broadcasts to `t`; step 0 is the
        identity. Where two minimisers tie, the answer is the smaller one.
        """
        raise NotImplementedError

    # How a regularizer applies it to groups of weights: to each weight of a
    # group, or to the group's l2 norm (the radial lift). `axes` are the ones
    # that a group spans; a value comes back per group, with axes kept.

    def weights_value(self, t, axes):
        """sum_i r(t_i) of each group."""
        return ops.sum(self.value(t), axis=axes, keepdims=True)

    def weights_prox(self, t, step, axes):
        """The prox of `weights_value`."""
        return self.prox(t, step)

    def norm_value(self, t, axes):
        """r(||t_g||_2) of each group."""
        return self.value(group_patterns.norms(t, axes))

    def norm_prox(self, t, step, axes):
        """The prox of `norm_value`: t_g prox_r(||t_g||) / ||t_g||."""
        norms = group_patterns.norms(t, axes)
        return group_patterns.rescaled(t, norms, self.prox(norms, step))

    @property
    def slope_at_zero(self):
        raise NotImplementedError

    @property
    def weak_convexity(self):
        raise NotImplementedError

    def get_config(self):
        return dataclasses.asdict(self)
