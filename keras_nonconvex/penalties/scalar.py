"""Scalar penalties: a function of a magnitude, and its exact prox.

To add one, write one frozen dataclass here and name it in `__all__`. The
generic tests, the look-up by name, the figure and saved files find it by
themselves; `docs/add-a-penalty.md` says what it must state.
"""

import copy
import dataclasses
import math

import keras
from keras import ops

from keras_nonconvex.penalties.base import Penalty
from keras_nonconvex.penalties.base import parameter
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import maximum
from keras_nonconvex.tensors import minimum

__all__ = [
    "CEL0",
    "CappedL1",
    "Firm",
    "L0",
    "L1",
    "LogSum",
    "Lp",
    "MCP",
    "SCAD",
    "TransformedL1",
]


@dataclasses.dataclass(frozen=True)
class L1(Penalty):
    """r(t) = t; its prox is soft thresholding."""

    slope_at_zero = 1.0
    weak_convexity = 0.0

    def value(self, t):
        return t

    def prox(self, t, step):
        return maximum(t - step, 0.0)


@dataclasses.dataclass(frozen=True)
class L0(Penalty):
    """r(t) = 1 for t > 0; its prox is hard thresholding at sqrt(2 step).

    The value counts weights and has no gradient, so this penalty acts through
    its prox alone.
    """

    slope_at_zero = math.inf
    weak_convexity = math.inf

    def value(self, t):
        return ops.cast(t > 0, t.dtype)

    def prox(self, t, step):
        step = ops.convert_to_tensor(step, t.dtype)
        # t > sqrt(2 step), not t^2 > 2 step, because t^2 could underflow.
        return _where(t > ops.sqrt(2.0 * step), t)


@dataclasses.dataclass(frozen=True)
class Lp(Penalty):
    """r(t) = t^p, 0 < p < 1.

    Prox: 0 up to the threshold x0 (2 - p) / (2 (1 - p)), where it jumps to
    x0 = (2 (1 - p) step)^(1 / (2 - p)); beyond, the larger root of
    x - t + step p x^(p - 1) = 0 (p = 1/2: Xu, Chang, Xu, Zhang 2012; p = 2/3:
    Cao, Sun, Xu 2013).

    With x = t y that is y - 1 + c y^(p - 1) = 0 for one c per weight. The jump
    keeps y far from where the root folds, so four Newton rounds from the
    chord reach rounding for every p. For p = 1/2 and 2/3 it is a polynomial
    in y^(1 - p), solved without a power per round.

    The gradient of the value is capped where t < 1e-8, and zero at 0.

    Args:
        p: Number in (0, 1), the exponent. The smaller it is, the closer r is
            to counting. Defaults to `0.5`.
    """

    p: float = parameter(0.5, above=0.0, below=1.0)

    slope_at_zero = math.inf
    weak_convexity = math.inf

    def value(self, t):
        # t slope + rest, where only the first factor has a gradient.
        slope = self.p * _power(maximum(t, 1e-8), self.p - 1.0)
        slope = ops.stop_gradient(_where(t > 0, slope))
        rest = _power(t, self.p) - t * slope
        return t * slope + ops.stop_gradient(rest)

    def prox(self, t, step):
        p, step = self.p, ops.convert_to_tensor(step, t.dtype)
        # y and c at the threshold.
        lowest = 2.0 * (1.0 - p) / (2.0 - p)
        highest = p / (2.0 * (1.0 - p)) * lowest ** (2.0 - p)
        root = step ** (1.0 / (2.0 - p))
        jump = (2.0 * (1.0 - p)) ** (1.0 / (2.0 - p)) * root
        alive = t > jump / lowest
        ratio = _where(alive, root / divisor(t))
        c = p * _power(ratio, 2.0 - p)
        n = round(1.0 / (1.0 - p))
        if n in (2, 3) and math.isclose(p, 1.0 - 1.0 / n):
            z = 1.0 - (1.0 - lowest ** (1.0 / n)) / highest * c
            for _ in range(4):
                zn = z * z if n == 2 else z * z * z
                z = z - (z * zn - z + c) / ((n + 1.0) * zn - 1.0)
            y = 1.0 - c / z
        else:
            y = 1.0 - (1.0 - lowest) / highest * c
            for _ in range(4):
                pull = c * ops.exp((p - 1.0) * ops.log(y))
                y = y - (y - 1.0 + pull) / (1.0 - (1.0 - p) * pull / y)
        return _where(alive, minimum(t * y, t))


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

    Args:
        a: Number in (1e-6, 1e6), the magnitude at which r has reached half of
            its limit a + 1. Defaults to `1.0`.
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
        inverse = 1.0 / total
        q = (step * (a * inverse)) * (((a + 1) * inverse) * inverse)
        # e = 4/3 (1 - c^2) where 4 c^3 - 3 c = s: the triple angle formula
        # for cosines. On [0, 1] that root is so smooth that a cubic in s comes
        # within 4e-5, one Newton round within 1e-8 and two within 1e-16.
        s = ops.sqrt(maximum(1.0 - 6.75 * q, 0.0))
        c = 0.86606188 + s * (0.16540417 + s * (-0.040881 + s * 0.00944355))
        double = keras.backend.standardize_dtype(t.dtype) == "float64"
        for _ in range(2 if double else 1):
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
        return _where(t > threshold, maximum(t - total * e, 0.0))


@dataclasses.dataclass(frozen=True)
class LogSum(Penalty):
    """r(t) = log(1 + t / epsilon) (Candes, Wakin, Boyd 2008).

    Prox: the larger root x + epsilon of w^2 - (t + epsilon) w + step = 0, or
    0. For step <= epsilon^2 it leaves 0 at t = step / epsilon; beyond, it
    jumps where the objective at the root falls below the one at 0.

    Args:
        epsilon: Number in (1e-6, 1e6), the magnitude at which r is log 2. The
            smaller it is, the closer r is to counting. Defaults to `0.1`.
    """

    epsilon: float = parameter(0.1, above=1e-6, below=1e6)

    @property
    def slope_at_zero(self):
        return 1 / self.epsilon

    @property
    def weak_convexity(self):
        return 1 / self.epsilon**2

    def value(self, t):
        return ops.log1p(t / self.epsilon)

    def prox(self, t, step):
        epsilon, step = self.epsilon, ops.convert_to_tensor(step, t.dtype)
        total, twice = t + epsilon, 2.0 * ops.sqrt(step)
        square = maximum((total - twice) * (total + twice), 0.0)
        # step / w is t - x, and does not cancel as (t - epsilon + root) does.
        x = maximum(t - 2.0 * step / (total + ops.sqrt(square)), 0.0)
        gain = x * (t - x / 2.0) - step * ops.log1p(x / epsilon)
        keep = ops.where(
            step * self.weak_convexity <= 1.0,
            t > step / epsilon,
            ops.logical_and(total > twice, gain > 0),
        )
        return _where(keep, x)


@dataclasses.dataclass(frozen=True)
class CappedL1(Penalty):
    """r(t) = min(t, theta) (Zhang 2010).

    Prox: soft thresholding up to theta + step / 2, or, for step >= 2 theta,
    0 up to sqrt(2 step theta); the identity beyond. It always jumps.

    Args:
        theta: Number in (1e-6, 1e6), the magnitude from which on r is
            constant. Defaults to `0.1`.
    """

    theta: float = parameter(0.1, above=1e-6, below=1e6)

    slope_at_zero = 1.0
    weak_convexity = math.inf

    def value(self, t):
        return minimum(t, self.theta)

    def prox(self, t, step):
        step = ops.convert_to_tensor(step, t.dtype)
        switch = ops.where(
            step < 2.0 * self.theta,
            self.theta + step / 2.0,
            ops.sqrt(2.0 * self.theta * step),
        )
        return ops.where(t > switch, t, maximum(t - step, 0.0))


class _Knots:
    """Penalties with knots at multiples of a knee.

    In the textbooks the knee is the strength, so `knee=None` means that.
    """

    def at(self, strength):
        """Returns the penalty with its knee set: the strength, unless given.

        Where the strength is 0 the knee does not matter; it is then 1.
        """
        if self.knee is not None:
            return self
        if not ops.is_tensor(strength):
            return dataclasses.replace(self, knee=strength or None)
        # A strength that changes in training, or one per group.
        bound = copy.copy(self)
        knee = divisor(strength)
        object.__setattr__(bound, "knee", knee)
        return bound

    @property
    def _knee(self):
        return 1.0 if self.knee is None else self.knee


class _Firm:
    """r(t) = slope (t - t^2 / (2 f)) up to f = `flat_from`, then constant.

    With s = step slope, the prox is firm shrinkage (Gao & Bruce 1997):
    min((t - s)_+ / (1 - s / f), t) for s < f, and beyond, hard thresholding
    at sqrt(s f).
    """

    @property
    def weak_convexity(self):
        return self.slope_at_zero / self.flat_from

    def value(self, t):
        t = minimum(t, self.flat_from)
        return self.slope_at_zero * t * (1.0 - t / (2.0 * self.flat_from))

    def prox(self, t, step):
        flat = self.flat_from
        step = ops.convert_to_tensor(step, t.dtype) * self.slope_at_zero
        rise = maximum(1.0 - step / flat, 1e-12)
        firm = minimum(maximum(t - step, 0.0) / rise, t)
        hard = _where(t > ops.sqrt(step) * flat**0.5, t)
        return ops.where(step < flat, firm, hard)


@dataclasses.dataclass(frozen=True)
class MCP(_Knots, _Firm, Penalty):
    """Minimax concave penalty (Zhang 2010), slope 1 at 0, 0 from gamma knee.

    r(t) = t - t^2 / (2 gamma knee) up to gamma knee, then gamma knee / 2.
    With `knee=None`, strength * r is the textbook penalty with lambda =
    strength. With a strength of 1e-4 and weights of 0.05 all weights then lie
    where r is flat, and nothing is penalised: give a number of the size of
    the weights that should stay free.

    Args:
        gamma: Number above 0: r is constant from gamma * knee on. Defaults to
            `3.0`.
        knee: Number above 0, a magnitude; or None for the strength of the
            regularizer (1 if the penalty is used alone). Defaults to `None`.
    """

    gamma: float = parameter(3.0, above=0.0)
    knee: float | None = parameter(None, above=0.0, optional=True)

    slope_at_zero = 1.0

    @property
    def flat_from(self):
        return self.gamma * self._knee


@dataclasses.dataclass(frozen=True)
class CEL0(_Knots, _Firm, Penalty):
    """Continuous exact L0 (Soubies, Blanc-Feraud, Aubert 2015).

    r(t) = 1 - (1 - t / f)^2 up to f = sqrt(2 knee) / a, then 1: the MCP that
    touches the L0 penalty. For a >= 1 / sqrt(step of the optimizer) it acts
    as L0 does.

    Args:
        a: Number above 0. The larger it is, the smaller the magnitude f from
            which on r is constant. Defaults to `1.0`.
        knee: Number above 0; or None for the strength of the regularizer (1 if
            the penalty is used alone). Defaults to `None`.
    """

    a: float = parameter(1.0, above=0.0)
    knee: float | None = parameter(None, above=0.0, optional=True)

    @property
    def flat_from(self):
        return (2.0 * self._knee) ** 0.5 / self.a

    @property
    def slope_at_zero(self):
        return 2.0 / self.flat_from


@dataclasses.dataclass(frozen=True)
class Firm(_Firm, Penalty):
    """r(t) = t - zeta t^2 up to 1 / (2 zeta), then 1 / (4 zeta).

    The weakly convex penalty of firm shrinkage (Shen & Gu 2018).

    Args:
        zeta: Number above 0, half of the weak convexity. Defaults to `1.0`.
    """

    zeta: float = parameter(1.0, above=0.0)

    slope_at_zero = 1.0

    @property
    def flat_from(self):
        return 1.0 / (2.0 * self.zeta)


@dataclasses.dataclass(frozen=True)
class SCAD(_Knots, Penalty):
    """Smoothly clipped absolute deviation (Fan & Li 2001).

    r has slope 1 up to the knee; from there the slope falls to 0 at a * knee.
    With `knee=None`, strength * r is the textbook penalty with lambda =
    strength. With a strength of 1e-4 and weights of 0.05 all weights then lie
    where r is flat, and nothing is penalised: give a number of the size of
    the weights that should stay free.

    Prox, with w = (a - 1) knee: for step < w the larger of (t - step)_+ and
    t - step (a knee - t)_+ / (w - step); beyond, (t - step)_+ up to
    ((a + 1) knee + step) / 2, or, for step > (a + 1) knee, 0 up to
    sqrt((a + 1) knee step), and the identity from there on.

    Args:
        a: Number above 2: r is constant from a * knee on. Defaults to `3.7`.
        knee: Number above 0, a magnitude; or None for the strength of the
            regularizer (1 if the penalty is used alone). Defaults to `None`.

    Example:
    >>> regularizer = knc.SparseGroup(knc.penalties.SCAD(knee=0.02), 1e-4)
    """

    a: float = parameter(3.7, above=2.0)
    knee: float | None = parameter(None, above=0.0, optional=True)

    slope_at_zero = 1.0

    @property
    def weak_convexity(self):
        return 1.0 / ((self.a - 1.0) * self._knee)

    def value(self, t):
        knee, width = self._knee, (self.a - 1.0) * self._knee
        linear = minimum(t, knee)
        bent = minimum(t, self.a * knee) - linear
        return linear + bent * (1.0 - bent / (2.0 * width))

    def prox(self, t, step):
        a, knee, step = self.a, self._knee, ops.convert_to_tensor(step, t.dtype)
        width, total = (a - 1.0) * knee, (a + 1.0) * knee
        soft = maximum(t - step, 0.0)
        bend = maximum(1.0 - step / width, 1e-12) * width
        bent = t - step * (maximum(a * knee - t, 0.0) / bend)
        switch = ops.where(
            step <= total,
            (total + step) / 2.0,
            ops.sqrt(step) * total**0.5,
        )
        return ops.where(
            step < width,
            maximum(soft, bent),
            ops.where(t > switch, t, soft),
        )


def _where(condition, x):
    return ops.where(condition, x, ops.zeros_like(x))


def _power(x, exponent):
    """x^exponent for x >= 0, in functions that compilers vectorise."""
    if exponent == 0.5:
        return ops.sqrt(x)
    if exponent == 1.5:
        return x * ops.sqrt(x)
    positive = divisor(x)
    if exponent == -0.5:
        return _where(x > 0, ops.rsqrt(positive))
    return _where(x > 0, ops.exp(exponent * ops.log(positive)))
