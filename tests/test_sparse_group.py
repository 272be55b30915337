"""The joint prox: exact, against search, closed forms and composition."""

import functools
import math

import brute_force
import numpy as np
import pytest
import strategies
import sweeps
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_nonconvex import penalties
from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import TransformedL1
from keras_nonconvex.regularizers import joint_prox


def joint(penalty, t, step, group_step, dtype="float64"):
    t = ops.convert_to_tensor(np.asarray(t), dtype)
    axes = tuple(range(t.ndim - 1))
    return ops.convert_to_numpy(
        joint_prox.prox(
            penalty,
            t,
            ops.convert_to_tensor(step, dtype),
            ops.convert_to_tensor(group_step, dtype),
            axes,
        )
    )


@functools.cache
def solved(name):
    """The sweep of a registered penalty, each part with its joint prox."""
    points = sweeps.joint_points(penalties.REGISTRY[name])
    return [(*problem, joint(*problem)) for problem in points]


def excess(penalty, t, step, group_step, x):
    """By how much each group's best found point beats x, relative to
    ||t||^2 / 2: by brute force over the norm, and by a search.
    """
    whole = brute_force.whole(penalty, t, step, group_step)
    best, point = brute_force.by_radius(penalty, t, step, group_step)
    rng = sweeps.generator(str(penalty))
    best = np.minimum(best, brute_force.search(whole, [x, point], t, rng))
    return (whole(x[..., None])[:, 0] - best) / ((t**2).sum(axis=0) / 2)


def is_convex(penalty, step):
    return bool(np.all(step * penalty.weak_convexity <= 1.0))


@pytest.mark.parametrize("name", sorted(penalties.REGISTRY))
class TestEveryPenalty:
    """On the points of `sweeps.py`, and a few random ones."""

    def test_no_point_beats_it_in_any_regime(self, name):
        for penalty, t, step, *rest in solved(name):
            found = excess(penalty, t, step, *rest)
            if is_convex(penalty, step):
                assert found.max() <= 1e-11, penalty
            else:
                # Of two minima whose norms are within 10 %, or where the
                # group is about to die, the walk may miss the better one.
                assert found.max() <= 1e-6, penalty
                assert np.mean(found > 1e-9) <= 0.05, penalty

    @examples(2)
    @given(data=st.data())
    def test_no_point_beats_it_on_random_draws(self, name, data):
        penalty = data.draw(strategies.penalty(penalties.REGISTRY[name]))
        step = min(data.draw(strategies.steps(penalty)), 1.0)
        t = np.abs(data.draw(strategies.array((5, 40))))
        t = np.where(t.any(axis=0), t, 1.0)
        problem = t, np.full((1, 40), step), np.geomspace(1e-3, 1.0, 40)[None]
        found = excess(penalty, *problem, joint(penalty, *problem))
        assert found.max() <= 1e-6

    def test_zero_iff_what_is_above_the_slope_is_within_the_group_step(
        self, name
    ):
        """||(t - step r'(0+))_+|| <= group_step, in the convex regime."""
        for penalty, t, step, group_step, x in solved(name):
            if not is_convex(penalty, step) or name in strategies.VECTOR:
                continue
            above = np.maximum(t - step * penalty.slope_at_zero, 0.0)
            bound = np.linalg.norm(above, axis=0, keepdims=True)
            clear = np.abs(group_step - bound) > 1e-9 * t.max(axis=0)
            np.testing.assert_array_equal(
                x.any(axis=0)[clear[0]], (bound > group_step)[clear]
            )
            # And exactly there.
            assert not joint(penalty, t, step, bound * (1 + 1e-9)).any()
            alive = joint(penalty, t, step, bound * (1 - 1e-6)).any(axis=0)
            assert alive[bound[0] > 1e-6 * t.max(axis=0)].all()

    def test_limits(self, name):
        for penalty, t, step, *_ in solved(name)[:2]:
            # No group term: the scalar prox. Neither: the identity.
            alone = ops.convert_to_numpy(
                penalty.weights_prox(ops.convert_to_tensor(t), step, (0,))
            )
            found = joint(penalty, t, step, 0.0 * step)
            np.testing.assert_allclose(found, alone, rtol=1e-9)
            none = joint(penalty, t, 0.0 * step, 0.0 * step)
            np.testing.assert_allclose(none, t)
            # No elementwise term: block shrinkage.
            group_step = 0.3 * t.max(axis=0, keepdims=True)
            norm = np.linalg.norm(t, axis=0)
            np.testing.assert_allclose(
                joint(penalty, t, 0.0 * step, group_step),
                t * np.maximum(1 - group_step / norm, 0),
                rtol=1e-9,
            )

    def test_float32_reaches_the_minimum_in_any_regime(self, name):
        for penalty, t, step, group_step, exact in solved(name)[:2]:
            # Whatever the rounding of the problem itself does to it.
            whole = brute_force.whole(penalty, t, step, group_step)
            found = joint(penalty, t, step, group_step, "float32")
            both = whole(np.stack([found.astype("float64"), exact], axis=-1))
            gap = (both[:, 0] - both[:, 1]) / (t**2).sum(axis=0)
            assert gap.max() <= 3e-6, penalty


def test_golden_sparse_group_lasso():
    for t, step, group_step, expected in (
        ((3, 2, 0.5), 0.6, 1.2, (1.36346532, 0.79535477, 0)),
        ((0.5, 0.4, 0.3), 0.2, 0.5, (0, 0, 0)),
        ((1, 0.5), 0.3, 0.3, (0.41154282, 0.11758366)),
    ):
        x = joint(L1(), np.array(t)[:, None], step, group_step)
        np.testing.assert_allclose(x[:, 0], expected, atol=1e-8)


def test_composition_of_the_two_proxes_is_worse():
    # Why the joint prox exists.
    rng = np.random.default_rng(0)
    t = np.abs(rng.normal(size=(6, 300)))
    for penalty, step in ((TransformedL1(1.0), 0.1), (L0(), 0.05)):
        whole = brute_force.whole(
            penalty, t, np.full((1, 300), step), np.full((1, 300), 0.8)
        )
        soft = ops.convert_to_numpy(
            penalty.prox(ops.convert_to_tensor(t), step)
        )
        norm = np.linalg.norm(soft, axis=0)
        composed = soft * np.maximum(1 - 0.8 / np.maximum(norm, 1e-300), 0)
        exact = joint(penalty, t, step, 0.8)
        both = whole(np.stack([composed, exact], axis=-1))
        gap = both[:, 0] - both[:, 1]
        assert np.all(gap >= -1e-12)
        assert np.mean(gap > 1e-6) > 0.25


def test_one_step_per_group():
    rng = np.random.default_rng(1)
    t = np.abs(rng.normal(size=(3, 3, 4, 5)))
    step = rng.uniform(0.01, 0.2, size=(1, 1, 1, 5))
    x = joint(TransformedL1(1.0), t, step, 3 * step)
    for g in range(5):
        one = joint(
            TransformedL1(1.0),
            t[..., g : g + 1],
            step[..., g].item(),
            3 * step[..., g].item(),
        )
        np.testing.assert_allclose(x[..., g : g + 1], one, rtol=1e-10)


def test_few_rounds_at_training_steps(monkeypatch):
    rng = np.random.default_rng(0)
    t = np.abs(rng.normal(size=(25, 20, 50))).astype("float32") * 0.05
    rounds = 0
    original = joint_prox._at_radius

    def counted(*args):
        nonlocal rounds
        rounds += 1
        return original(*args)

    monkeypatch.setattr(joint_prox, "_at_radius", counted)
    x = joint(TransformedL1(1.0), t, 1e-5, math.sqrt(500) * 1e-3, "float32")
    assert rounds <= 6
    assert 0 < np.mean(x == 0) < 1
