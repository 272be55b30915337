"""Scalar penalties: a function of a magnitude, and its exact prox.

A penalty carries no strength and knows no groups: those are the
regularizer's (`regularizers.py`). To add one, write one frozen dataclass
here; the generic tests, the named look-up and the saving find it by itself.
"""

import dataclasses
import math

from keras import ops


def parameter(default, *, above=-math.inf, below=math.inf):
    """A penalty's parameter and its open legal range.

    The range is validator, documentation and test strategy in one.
    """
    return dataclasses.field(
        default=default, metadata={"above": above, "below": below}
    )


REGISTRY = {}


@dataclasses.dataclass(frozen=True)
class Penalty:
    """A penalty r(t) on magnitudes t >= 0, with r(0) = 0, nondecreasing.

    Subclasses state `value`, `prox` and two facts the solvers ask for:

    - `slope_at_zero`: r'(0+), infinite for a penalty with a jump at 0.
    - `weak_convexity`: the smallest rho for which r(t) + rho t^2 / 2 is
      convex. With step * rho <= 1 the prox is continuous; beyond, it jumps.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        REGISTRY[cls.__name__] = cls

    def __post_init__(self):
        for field in dataclasses.fields(self):
            low, high = field.metadata["above"], field.metadata["below"]
            received = getattr(self, field.name)
            try:
                number = float(received)
                legal = low < number < high and math.isfinite(number)
            except (TypeError, ValueError):
                legal = False
            if not legal:
                bounds = [f"above {low:g}"] if low > -math.inf else []
                bounds += [f"below {high:g}"] if high < math.inf else []
                raise ValueError(
                    f"Argument `{field.name}` of {type(self).__name__} must "
                    f"be a finite number {' and '.join(bounds)}. "
                    f"Received: {field.name}={received!r}"
                )
            object.__setattr__(self, field.name, number)

    def value(self, t):
        """r(t), elementwise, for magnitudes t >= 0."""
        raise NotImplementedError

    def prox(self, t, step):
        """argmin_{x >= 0} step * r(x) + (x - t)^2 / 2, elementwise.

        `step` is a number or a tensor that broadcasts to `t`; step 0 is the
        identity. Where two minimisers tie, the answer is the smaller one.
        """
        raise NotImplementedError

    @property
    def slope_at_zero(self):
        raise NotImplementedError

    @property
    def weak_convexity(self):
        raise NotImplementedError

    def get_config(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class L1(Penalty):
    """r(t) = t; its prox is soft thresholding."""

    slope_at_zero = 1.0
    weak_convexity = 0.0

    def value(self, t):
        return t

    def prox(self, t, step):
        return ops.maximum(t - step, 0.0)


@dataclasses.dataclass(frozen=True)
class L0(Penalty):
    """r(t) = 1 for t > 0; its prox is hard thresholding at sqrt(2 step).

    The value counts, so it has no gradient: this penalty acts through its
    prox alone.
    """

    slope_at_zero = math.inf
    weak_convexity = math.inf

    def value(self, t):
        return ops.cast(t > 0, t.dtype)

    def prox(self, t, step):
        step = ops.convert_to_tensor(step, t.dtype)
        # 2 step is compared with t^2 by its root: t^2 could underflow.
        return ops.where(t > ops.sqrt(2.0 * step), t, ops.zeros_like(t))


@dataclasses.dataclass(frozen=True)
class TransformedL1(Penalty):
    """r(t) = (a + 1) t / (a + t): L0 as a -> 0, L1 as a -> infinity.

    Prox (Zhang & Xin 2017): 0 up to the threshold step (a + 1) / a, or, for
    step > a^2 / (2 (a + 1)), up to sqrt(2 step (a + 1)) - a / 2, where it
    jumps; beyond, the largest root x of x - t + step a (a + 1)/(a + x)^2 = 0.

    The root is written x = t - (a + t) e with e in [0, 1/3] and
    e (1 - e)^2 = q, q = step a (a + 1) / (a + t)^3: one universal function of
    one number, without the cancellation of the usual arccos form (10 % wrong
    in float32 at step 1e-5).
    """

    # Beyond these it is L0 or L1 in float32.
    a: float = parameter(1.0, above=1e-6, below=1e6)

    @property
    def slope_at_zero(self):
        return (self.a + 1) / self.a

    @property
    def weak_convexity(self):
        return 2 * (self.a + 1) / self.a**2

    def value(self, t):
        return (self.a + 1) * (t / (self.a + t))

    def prox(self, t, step):
        a, step = self.a, ops.convert_to_tensor(step, t.dtype)
        total = a + t
        q = step * (a / total) * ((a + 1) / total) / total
        # e = 4/3 (1 - c^2) where 4 c^3 - 3 c = s: the triple angle formula
        # for cosines. On [0, 1] this cubic is so well conditioned that two
        # Newton rounds from the chord reach 1e-8, three 1e-16.
        s = ops.sqrt(ops.maximum(1.0 - 6.75 * q, 0.0))
        c = 1.0 - (1.0 - math.sqrt(0.75)) * (1.0 - s)
        for _ in range(3):
            c = c - ((4.0 * c * c - 3.0) * c - s) / (12.0 * c * c - 3.0)
        e = (4.0 / 3.0) * (1.0 - c * c)
        # One fixed-point round turns the absolute accuracy of e into
        # relative accuracy (its factor, 2 e / (1 - e), is at most 1).
        e = q / ops.square(1.0 - e)
        threshold = ops.where(
            step * self.weak_convexity <= 1.0,
            step * self.slope_at_zero,
            ops.sqrt(2.0 * (a + 1) * step) - a / 2,
        )
        x = ops.maximum(t - total * e, 0.0)
        return ops.where(t > threshold, x, ops.zeros_like(t))
