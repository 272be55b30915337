"""What every penalty is, and the registry that all generic tests walk."""

import dataclasses
import functools
import math

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns


def parameter(
    default, *, above=-math.inf, below=math.inf, closed=False, optional=False
):
    """A field of a penalty: one parameter and its legal range.

    The one declaration is validator, error message, config and test strategy.

    Args:
        default: Number, the default value; or None if `optional`.
        above: Number, the lower end of the range. Defaults to `-inf`.
        below: Number, the upper end of the range. Defaults to `inf`.
        closed: Boolean, whether the ends are legal themselves. Defaults to
            `False`.
        optional: Boolean, whether None is legal too. Defaults to `False`.

    Example:
    ```python
    @dataclasses.dataclass(frozen=True)
    class Laplace(Penalty):
        sigma: float = parameter(0.1, above=1e-6, below=1e6)
        ...
    ```
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
class BasePenalty:
    """A penalty r: subclass `Penalty` or `VectorPenalty` to make one.

    A penalty is a frozen dataclass whose fields are its parameters. It
    registers itself by its class name, under which regularizers and saved
    files find it. Beside the value and the prox it states two facts:

    - `slope_at_zero`: r'(0+), infinite for a penalty with a jump at 0.
    - `weak_convexity`: the smallest rho for which r(t) + rho ||t||^2 / 2 is
      convex. With step * rho <= 1 the prox is continuous; beyond, it jumps.

    Regularizers apply a penalty to groups of weights in two ways: to the
    weights themselves (`weights_value`, `weights_prox`), or to the l2 norm of
    each group (`norm_value`, `norm_prox`). These four take magnitudes `t` and
    the axes that one group spans, and both values have one entry per group,
    with the axes kept.
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

    @property
    def slope_at_zero(self):
        raise NotImplementedError

    @property
    def weak_convexity(self):
        raise NotImplementedError

    def at(self, strength):
        """Returns the penalty that a regularizer of this strength applies.

        MCP, SCAD and CEL0 set their knots by the strength; all others return
        themselves.
        """
        return self

    def weights_value(self, t, axes):
        """r of the weights of each group."""
        raise NotImplementedError

    def weights_prox(self, t, step, axes):
        """The prox of `weights_value`."""
        raise NotImplementedError

    def norm_value(self, t, axes):
        """r of the norm of each group."""
        raise NotImplementedError

    def norm_prox(self, t, step, axes):
        """The prox of `norm_value`."""
        raise NotImplementedError

    def get_config(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Penalty(BasePenalty, abstract=True):
    """A penalty r(t) of one magnitude t >= 0, nondecreasing, with r(0) = 0.

    Subclasses state `value`, `prox`, `slope_at_zero` and `weak_convexity`.
    `docs/add-a-penalty.md` makes one.
    """

    def value(self, t):
        """r(t), elementwise, for a tensor of magnitudes t >= 0."""
        raise NotImplementedError

    def prox(self, t, step):
        """argmin_{x >= 0} step * r(x) + (x - t)^2 / 2, elementwise.

        Where two minimisers tie, the answer is the smaller one.

        Args:
            t: Tensor of magnitudes >= 0.
            step: Number >= 0, or a tensor that broadcasts to `t`. Step 0 is
                the identity.
        """
        raise NotImplementedError

    def weights_value(self, t, axes):
        """sum_i r(t_i) of each group."""
        return ops.sum(self.value(t), axis=axes, keepdims=True)

    def weights_prox(self, t, step, axes):
        return self.prox(t, step)

    def norm_value(self, t, axes):
        """r(||t_g||_2) of each group."""
        return self.value(group_patterns.norms(t, axes))

    def norm_prox(self, t, step, axes):
        """t_g prox(||t_g||) / ||t_g||: it moves each group along its ray."""
        norms = group_patterns.norms(t, axes)
        return group_patterns.rescaled(t, norms, self.prox(norms, step))
