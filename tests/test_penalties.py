"""The battery that every registered penalty must pass, by its mathematics."""

import dataclasses
import math

import brute_force
import numpy as np
import pytest
import strategies
import sweeps
from brute_force import prox
from brute_force import value
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_nonconvex import penalties
from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import MCP
from keras_nonconvex.penalties import SCAD
from keras_nonconvex.penalties import L1MinusL2
from keras_nonconvex.penalties import Lp
from keras_nonconvex.penalties import Penalty
from keras_nonconvex.penalties import TransformedL1
from keras_nonconvex.penalties import parameter

REGISTERED = dict(penalties.REGISTRY)
SCALAR, VECTOR = strategies.SCALAR, strategies.VECTOR


def objective(penalty, x, t, step):
    return step * value(penalty, x) + (x - t) ** 2 / 2


def excess(penalty, t, step):
    """By how much a grid, refined where it is least, beats the prox, relative
    to t^2 / 2; t and step in shapes that broadcast.
    """
    t, step = np.broadcast_arrays(np.asarray(t, "float64"), step)
    best = brute_force.least(
        lambda x: objective(penalty, x, t[..., None], step[..., None]), t
    )
    found = objective(penalty, prox(penalty, t, step), t, step)
    return float(((found - best) / np.maximum(t**2 / 2, 1e-300)).max())


def slope(penalty, t):
    """r'(t), by the gradient of the value."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        at = tf.constant(t)
        tape.watch(at)
        total = tf.reduce_sum(penalty.value(at))
    found = tape.gradient(total, at)
    return np.zeros_like(t) if found is None else found.numpy()


def points(name):
    """The sweep's (penalty, magnitudes, steps) for a registered name."""
    return sweeps.scalar_points(REGISTERED[name])


def single(x):
    """The nearest float32 numbers, in float64."""
    return x.astype("float32").astype("float64")


MAGNITUDES = st.lists(
    strategies.log_uniform(1e-5, 1e2), min_size=1, max_size=20
).map(np.array)


@pytest.mark.parametrize("name", SCALAR)
class TestEveryScalarPenalty:
    """On the points of `sweeps.py`, and a few random ones."""

    def test_no_point_beats_the_prox_in_any_regime(self, name):
        for penalty, t, step in points(name):
            assert excess(penalty, t, step) <= 1e-11, penalty

    @given(data=st.data())
    def test_no_point_beats_the_prox_of_random_draws(self, name, data):
        penalty = data.draw(strategies.penalty(REGISTERED[name]))
        step = data.draw(strategies.steps(penalty))
        assert excess(penalty, data.draw(MAGNITUDES), step) <= 1e-11

    def test_prox_is_stationary_where_it_is_not_zero(self, name):
        """x - t + step r'(x) = 0, which sees far smaller errors of x."""
        for penalty, t, step in points(name):
            x = prox(penalty, t, step)
            pull = np.where(x > 1e-7, step * slope(penalty, x), t - x)
            assert np.all(np.abs(x - t + pull) <= 1e-11 * t), penalty

    def test_prox_is_a_shrinkage_rising_with_t(self, name):
        for penalty, t, step in points(name):
            x = prox(penalty, t, step)
            assert np.all((x >= 0) & (x <= t)), penalty
            assert np.all(np.diff(x) >= -1e-12 * t[:, 1:]), penalty
            assert not prox(penalty, 0.0 * t, step).any()
            np.testing.assert_array_equal(prox(penalty, t, 0.0), t)

    def test_float32_agrees_in_any_regime(self, name):
        # Near a jump the two may take different sides, and near a threshold
        # x is a difference of close numbers.
        for penalty, t, step in points(name):
            t, step = single(t), single(step)
            low = prox(penalty, t * (1 - 1e-5), step)
            high = prox(penalty, t * (1 + 1e-5), step)
            x = prox(penalty, t, step, "float32")
            assert np.all(x >= low - 2e-6 * t), penalty
            assert np.all(x <= high + 2e-6 * t), penalty

    def test_float32_is_accurate_in_any_regime(self, name):
        """Relative error <= 2e-5, wherever the rounding of the inputs alone
        does not move the exact answer by half of that.
        """
        for penalty, t, step in points(name):
            t, step = single(t), single(step)
            x = prox(penalty, t, step)
            moved = [
                prox(penalty, t * (1 + dt), step * (1 + ds))
                for dt in (-1.2e-7, 1.2e-7)
                for ds in (-1.2e-7, 1.2e-7)
            ]
            steady = np.max(np.abs(np.array(moved) - x), axis=0) <= 1e-5 * x
            error = np.abs(prox(penalty, t, step, "float32") - x)[steady]
            assert np.all(error <= 2e-5 * x[steady]), penalty

    def test_float32_threshold(self, name):
        for penalty, _, step in points(name):
            step = single(step)
            np.testing.assert_allclose(
                sweeps.threshold(penalty, step, "float32"),
                sweeps.threshold(penalty, step),
                rtol=1e-6,
                err_msg=str(penalty),
            )

    def test_value_rises_from_zero(self, name):
        for penalty, t, _ in points(name):
            assert value(penalty, 0.0) == 0
            rise = np.diff(value(penalty, np.unique(t)))
            assert np.all(rise >= -1e-15 * value(penalty, t.max())), penalty

    def test_value_in_float32(self, name):
        for penalty, t, _ in points(name):
            t = single(t)
            found = penalty.value(ops.convert_to_tensor(t, "float32"))
            np.testing.assert_allclose(
                ops.convert_to_numpy(found), value(penalty, t), rtol=5e-6
            )

    def test_slope_at_zero_is_as_declared(self, name):
        for penalty in sweeps.instances(REGISTERED[name], 10):
            slope = penalty.slope_at_zero
            if math.isinf(slope):
                assert float(value(penalty, 1e-300)) / 1e-300 > 100
            else:
                h = 1e-7 * min(sweeps.knots(penalty))
                found = float(value(penalty, h)) / h
                assert found == pytest.approx(slope, rel=1e-6)

    def test_weak_convexity_is_the_least_that_makes_it_convex(self, name):
        for penalty in sweeps.instances(REGISTERED[name], 10):
            rho = penalty.weak_convexity
            if math.isinf(rho):
                continue
            # Second differences of -r, from 0 to below and beyond each knot.
            end = np.ravel(np.outer(sweeps.knots(penalty), [1e-3, 0.1, 3.0]))
            t = end[:, None] * np.linspace(0, 1, 200)
            bend = -np.diff(value(penalty, t), 2) / t[:, 1:2] ** 2
            rounding = 1e-15 * value(penalty, end) / t[:, 1] ** 2
            exact = rounding <= 1e-4 * rho
            assert np.all(bend <= rho * (1 + 1e-6) + rounding[:, None])
            assert rho == 0 or bend[exact].max() >= 0.99 * rho, penalty

    def test_gradient_is_the_derivative_by_differences(self, name):
        for penalty, t, _ in points(name):
            t = np.unique(t)
            gradient = slope(penalty, t)
            # Lp's is capped by declaration where t < 1e-8.
            t, gradient = t[t > 1e-7], gradient[t > 1e-7]
            h = 1e-6 * t
            here = value(penalty, t)
            left = (here - value(penalty, t - h)) / h
            right = (value(penalty, t + h) - here) / h
            # At a kink any slope between the two will do.
            slack = 1e-5 * np.abs(left) + 1e-9 * here / t
            assert np.all(gradient >= np.minimum(left, right) - slack), penalty
            assert np.all(gradient <= np.maximum(left, right) + slack), penalty

    def test_config(self, name):
        penalty = REGISTERED[name]()
        assert REGISTERED[name](**penalty.get_config()) == penalty

    def test_illegal_parameters(self, name):
        for field in dataclasses.fields(REGISTERED[name]):
            illegal = [math.nan, math.inf, "much"]
            if not field.metadata["optional"]:
                illegal.append(None)
            for bound, outside in (("above", -0.1), ("below", 0.1)):
                if math.isfinite(field.metadata[bound]):
                    closed = field.metadata["closed"]
                    illegal.append(field.metadata[bound] + outside * closed)
            for received in illegal:
                with pytest.raises(ValueError) as error:
                    REGISTERED[name](**{field.name: received})
                assert f"`{field.name}`" in str(error.value)
                assert f"Received: {field.name}=" in str(error.value)


def vector_prox(penalty, t, step):
    t = ops.convert_to_tensor(t, t.dtype)
    return ops.convert_to_numpy(penalty.prox(t, step, (0,)))


@pytest.mark.parametrize("name", VECTOR)
class TestEveryVectorPenalty:
    """Vectors are columns here."""

    def test_no_point_beats_the_prox_in_any_regime(self, name):
        rng = sweeps.generator(name)
        for penalty, t, step in sweeps.vector_points(REGISTERED[name]):
            x = vector_prox(penalty, t, step)
            assert np.all((x >= 0) & (x <= t + 1e-12 * t.max(axis=0)))
            objective = brute_force.whole(penalty, t, step, 0.0 * step)
            best = brute_force.search(objective, [x], t, rng)
            found = objective(x[..., None])[:, 0]
            assert np.all(found - best <= 1e-11 * (t**2).sum(axis=0)), penalty

    def test_float32_reaches_the_minimum_in_any_regime(self, name):
        for penalty, t, step in sweeps.vector_points(REGISTERED[name]):
            t, step = single(t), single(step)
            objective = brute_force.whole(penalty, t, step, 0.0 * step)
            exact = vector_prox(penalty, t, step)
            found = vector_prox(penalty, t.astype("float32"), step)
            both = objective(np.stack([found.astype("float64"), exact], -1))
            gap = both[:, 0] - both[:, 1]
            assert np.all(gap <= 1e-6 * (t**2).sum(axis=0)), penalty

    @given(data=st.data())
    def test_shrinks_many_vectors_at_once(self, name, data):
        penalty = data.draw(strategies.penalty(REGISTERED[name]))
        step = data.draw(strategies.log_uniform(1e-4, 1e1))
        t = np.abs(data.draw(strategies.array((2, 4, 5))))
        tensor = ops.convert_to_tensor(t)
        x = ops.convert_to_numpy(penalty.prox(tensor, step, (0, 1)))
        assert np.all((x >= 0) & (x <= t * (1 + 1e-12)))
        for column in range(5):
            one = t[..., column].reshape(-1, 1)
            np.testing.assert_allclose(
                x[..., column].reshape(-1, 1), vector_prox(penalty, one, step)
            )
        same = penalty.prox(tensor, 0.0, (0, 1))
        np.testing.assert_array_equal(ops.convert_to_numpy(same), t)
        zero = penalty.prox(ops.zeros_like(tensor), step, (0, 1))
        assert not ops.convert_to_numpy(zero).any()

    @given(data=st.data())
    def test_float32_is_accurate(self, name, data):
        penalty = data.draw(strategies.penalty(REGISTERED[name]))
        step = float(np.float32(data.draw(strategies.log_uniform(1e-6, 1e-1))))
        t = np.abs(data.draw(strategies.array((40, 8), scale=0.05)))
        t = t.astype("float32")
        exact = vector_prox(penalty, t.astype("float64"), step)
        single = vector_prox(penalty, t, step)
        # Relative to what was put in: sums of many numbers round.
        assert np.all(np.abs(single - exact) <= 2e-5 * exact + 2e-6 * t)

    def test_config(self, name):
        penalty = REGISTERED[name]()
        assert REGISTERED[name](**penalty.get_config()) == penalty

    def test_illegal_parameters(self, name):
        for field in dataclasses.fields(REGISTERED[name]):
            for received in (math.nan, -0.1, 1.1, "much", None):
                with pytest.raises(ValueError, match=f"`{field.name}`"):
                    REGISTERED[name](**{field.name: received})


@pytest.mark.parametrize(
    "t,step,alpha,expected",
    [
        ((3, 2, 0.5), 1, 1, (2.894427191, 1.447213595, 0)),
        ((3, 2, 0.5), 1, 0.5, (2.447213595, 1.223606798, 0)),
        ((0.9, 0.6, 0.2), 1, 0.5, (0.4, 0, 0)),
        ((0.4, 0.3, 0.1), 1, 0.5, (0, 0, 0)),
        ((0.9, 0.6, 0.2), 1, 1, (0.9, 0, 0)),
        # Ties: the first of the largest, alone.
        ((0.2, 0.9, 0.9), 1, 1, (0, 0.9, 0)),
    ],
)
def test_golden_l1_minus_l2(t, step, alpha, expected):
    t = np.array(t, "float64")[:, None]
    x = vector_prox(L1MinusL2(alpha), t, step)
    np.testing.assert_allclose(x[:, 0], expected, atol=1e-8)


@pytest.mark.parametrize("penalty", [MCP(), SCAD(), penalties.CEL0()])
def test_knees_follow_the_strength(penalty):
    t = np.geomspace(1e-4, 1, 50)
    for strength in (0.05, 0.3):
        bound = dataclasses.replace(penalty, knee=strength)
        assert penalty.at(strength) == bound
        assert bound.at(0.7) is bound
        # A strength that changes in training is a tensor.
        live = penalty.at(ops.convert_to_tensor(strength, "float64"))
        np.testing.assert_allclose(value(live, t), value(bound, t))
        np.testing.assert_allclose(
            prox(live, t, 0.02 * strength), prox(bound, t, 0.02 * strength)
        )
        zero = penalty.at(ops.convert_to_tensor(0.0, "float64"))
        np.testing.assert_array_equal(prox(zero, t, 0.0), t)
    assert penalty.at(0.0) == penalty
    assert penalty.get_config()["knee"] is None


def test_gradient_of_lp_is_finite_at_and_near_zero():
    import tensorflow as tf

    t = tf.Variable([0.0, 1e-30, 1e-12, 1e-4])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(Lp(0.5).value(t))
    gradient = tape.gradient(total, t).numpy()
    np.testing.assert_allclose(gradient, [0, 5e3, 5e3, 50], rtol=1e-5)


def test_mutants_fail_the_battery():
    """Published mistakes, which the battery must reject."""

    @dataclasses.dataclass(frozen=True)
    class L0AtLambda(L0):
        def prox(self, t, step):
            return ops.where(t > step, t, ops.zeros_like(t))

    @dataclasses.dataclass(frozen=True)
    class ScadAtUnitStep(Penalty):
        """SCAD with knots at 1 and a, and the rule of step 1 at any step."""

        a: float = parameter(3.7, above=2.0)

        def value(self, t):
            a = self.a
            middle = (2 * a * t - t**2 - 1) / (2 * (a - 1))
            flat = ops.full_like(t, (a + 1) / 2)
            return ops.where(t <= 1, t, ops.where(t <= a, middle, flat))

        def prox(self, t, step):
            a = self.a
            soft = ops.maximum(t - step, 0.0)
            middle = ((a - 1) * t - a * step) / (a - 2)
            return ops.where(
                t <= 2 * step, soft, ops.where(t <= a * step, middle, t)
            )

    @dataclasses.dataclass(frozen=True)
    class McpWithoutLargeStep(Penalty):
        """MCP with knot gamma, and only the rule for step < gamma."""

        gamma: float = parameter(1.5, above=0.0)

        def value(self, t):
            flat = ops.full_like(t, self.gamma / 2)
            return ops.where(t <= self.gamma, t - t**2 / (2 * self.gamma), flat)

        def prox(self, t, step):
            firm = (t - step) / (1 - step / self.gamma)
            x = ops.where(t <= step, ops.zeros_like(t), firm)
            return ops.where(t > self.gamma, t, x)

    t = np.linspace(0.05, 5, 60)
    try:
        assert excess(L0AtLambda(), t, 0.1) > 1e-3
        assert excess(ScadAtUnitStep(), t, 0.4) > 1e-3
        assert excess(McpWithoutLargeStep(), t, 2.0) > 1e-3
    finally:
        for name in set(penalties.REGISTRY) - set(REGISTERED):
            del penalties.REGISTRY[name]


GOLDEN_T = [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1, 1.5, 2, 3, 5]
GOLDEN = [
    (L1(), 0.1, "0 0 .05 .1 .2 .4 .7 .9 1.4 1.9 2.9 4.9"),
    (L0(), 0.1, "0 0 0 0 0 .5 .8 1 1.5 2 3 5"),
    (
        TransformedL1(1.0),
        0.04,
        "0 .023654553 .081617932 .138253555 .248692741 .462602973 "
        ".774596669 .979585370 1.487066526 1.991057883 2.994987445 "
        "4.997776130",
    ),
    (
        TransformedL1(1.0),
        0.5,
        "0 0 0 0 0 0 0 .618033989 1.313099034 1.879385242 2.935432332 "
        "4.971960768",
    ),
    (
        TransformedL1(0.1),
        0.1,
        "0 0 0 0 0 .465616639 .785986771 .990754321 1.495679827 "
        "1.997499719 2.998854513 4.999577016",
    ),
    (
        TransformedL1(10.0),
        0.3,
        "0 0 0 0 0 .181671300 .500721397 .712433941 1.238736360 "
        "1.761442680 2.798537964 4.850362716",
    ),
]
GOLDEN += [
    (
        Lp(0.5),
        0.1,
        "0 0 0 0 0 .423134631 .741952718 .948665000 1.458599849 1.964325054 "
        "2.970991901 4.977589039",
    ),
    (Lp(0.5), 1, "0 0 0 0 0 0 0 0 0 1.605377940 2.695453151 4.771091926"),
    (
        Lp(2 / 3),
        0.1,
        "0 0 0 0 .182459828 .410281628 .725817831 .931743618 1.440976755 "
        "1.946607208 2.953534775 4.960910967",
    ),
    (
        Lp(2 / 3),
        1,
        "0 0 0 0 0 0 0 0 .773857777 1.404734587 2.509410594 4.599117366",
    ),
    # In the textbooks' letters: the step is eta lambda, the knee lambda.
    (MCP(3, 0.2), 0.2, "0 0 0 0 .15 .45 .8 1 1.5 2 3 5"),
    (MCP(1.5, 1), 2.0, "0 0 0 0 0 0 0 0 0 2 3 5"),
    (SCAD(3.7, 0.2), 0.2, "0 0 0 0 .1 .358823529 .8 1 1.5 2 3 5"),
    (
        SCAD(3.7, 0.5),
        0.2,
        "0 0 0 0 .1 .3 .617391304 .852173913 1.439130435 2 3 5",
    ),
    (SCAD(3.7, 0.5), 1.75, "0 0 0 0 0 0 0 0 0 .25 3 5"),
    (SCAD(3.7, 0.5), 3.0, "0 0 0 0 0 0 0 0 0 0 3 5"),
]


@pytest.mark.parametrize("penalty,step,expected", GOLDEN)
def test_golden_values(penalty, step, expected):
    expected = [float(number) for number in expected.split()]
    np.testing.assert_allclose(
        prox(penalty, GOLDEN_T, step), expected, atol=1e-8
    )


def test_transformed_l1_threshold_and_jump():
    # Sub-critical: continuous at step (a + 1) / a. Super-critical: jumps.
    a = 1.0
    threshold = 0.04 * 2
    x = prox(TransformedL1(a), [threshold, threshold * (1 + 1e-9)], 0.04)
    assert x[0] == 0 and 0 < x[1] < 1e-8
    threshold = math.sqrt(2 * 0.5 * 2) - 0.5
    x = prox(TransformedL1(a), [threshold, threshold * (1 + 1e-9)], 0.5)
    assert x[0] == 0
    assert x[1] == pytest.approx(math.sqrt(2 * 0.5 * 2) - 1, abs=1e-7)
