"""The joint prox: exact, against search, closed forms and composition."""

import math

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import settings
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


def objective(penalty, x, t, step, group_step):
    """Objective per column: groups are columns here."""
    x = ops.convert_to_tensor(x)
    values = ops.convert_to_numpy(penalty.weights_value(x, (0,)))
    x = ops.convert_to_numpy(x)
    norm = np.sqrt((x**2).sum(0))
    return step * values[0] + group_step * norm + ((x - t) ** 2).sum(0) / 2


def search(penalty, t, step, group_step):
    """The best of many candidates for one group, by seeded search.

    All supports of the largest magnitudes, each polished from many radii.
    """
    norm = np.linalg.norm(t)
    best = norm**2 / 2
    order = np.argsort(-t)
    for size in range(1, len(t) + 1):
        kept = t[order[:size], None]
        radius = norm * np.linspace(0.02, 1, 40)
        for _ in range(25):
            c = radius / (radius + group_step)
            x = ops.convert_to_numpy(
                penalty.weights_prox(
                    ops.convert_to_tensor(c * kept), c * step, (0,)
                )
            )
            radius = np.linalg.norm(x, axis=0)
        scores = objective(penalty, x, kept, step, group_step)
        rest = (t[order[size:]] ** 2).sum() / 2
        best = min(best, float(scores.min()) + rest)
    return best


@pytest.mark.parametrize("name", sorted(penalties.REGISTRY))
class TestEveryPenalty:
    @settings(max_examples=8)
    @given(data=st.data())
    def test_search_does_not_beat_it(self, name, data):
        penalty = data.draw(strategies.penalty(penalties.REGISTRY[name]))
        step = min(data.draw(strategies.steps(penalty)), 1.0)
        group_step = data.draw(strategies.log_uniform(1e-3, 1.0))
        t = np.abs(data.draw(strategies.array((5, 1))))
        x = joint(penalty, t, step, group_step)
        found = objective(penalty, x, t, step, group_step).item()
        best = search(penalty, t[:, 0], step, group_step)
        assert found <= best + 1e-9 * max((t**2).sum(), 1e-12)

    @settings(max_examples=8)
    @given(data=st.data())
    def test_perturbations_do_not_beat_it(self, name, data):
        penalty = data.draw(strategies.penalty(penalties.REGISTRY[name]))
        step = min(data.draw(strategies.steps(penalty)), 1.0)
        group_step = data.draw(strategies.log_uniform(1e-3, 1.0))
        t = np.abs(data.draw(strategies.array((12, 6))))
        x = joint(penalty, t, step, group_step)
        found = objective(penalty, x, t, step, group_step)
        rng = np.random.default_rng(0)
        for scale in (1e-1, 1e-3, 1e-5):
            for _ in range(40):
                other = np.maximum(x + scale * rng.normal(size=x.shape), 0)
                other = np.where(rng.random(x.shape) < 0.3, x, other)
                worse = objective(penalty, other, t, step, group_step)
                assert np.all(found <= worse + 1e-10)
        # Zeroing a group, or one weight of each, is no better either.
        zeros = objective(penalty, np.zeros_like(x), t, step, group_step)
        assert np.all(found <= zeros + 1e-10)
        for row in range(len(x)):
            other = x.copy()
            other[row] = 0
            worse = objective(penalty, other, t, step, group_step)
            assert np.all(found <= worse + 1e-10)

    @settings(max_examples=8)
    @given(data=st.data())
    def test_limits(self, name, data):
        penalty = data.draw(strategies.penalty(penalties.REGISTRY[name]))
        step = data.draw(strategies.steps(penalty))
        t = np.abs(data.draw(strategies.array((7, 4))))
        # No group term: the scalar prox. Neither: the identity.
        alone = ops.convert_to_numpy(
            penalty.weights_prox(ops.convert_to_tensor(t), step, (0,))
        )
        np.testing.assert_allclose(
            joint(penalty, t, step, 0.0), alone, atol=1e-12
        )
        np.testing.assert_allclose(joint(penalty, t, 0.0, 0.0), t)
        # No elementwise term: block shrinkage.
        norm = np.linalg.norm(t, axis=0)
        factor = np.maximum(1 - 0.3 / np.maximum(norm, 1e-300), 0)
        np.testing.assert_allclose(
            joint(penalty, t, 0.0, 0.3), t * factor, atol=1e-12
        )

    @settings(max_examples=8)
    @given(data=st.data())
    def test_float32_reaches_the_minimum(self, name, data):
        penalty = data.draw(strategies.penalty(penalties.REGISTRY[name]))
        step = min(data.draw(strategies.steps(penalty)), 1.0)
        group_step = data.draw(strategies.log_uniform(1e-4, 1.0))
        t = np.abs(data.draw(strategies.array((20, 8), scale=0.1)))
        t = t.astype("float32").astype("float64")
        single = joint(penalty, t, step, group_step, "float32")
        exact = joint(penalty, t, step, group_step)
        found = objective(
            penalty, single.astype("float64"), t, step, group_step
        )
        best = objective(penalty, exact, t, step, group_step)
        scale = (t**2).sum(0) + step * 1e-3
        assert np.all(found - best <= 3e-6 * scale)


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
        exact = objective(penalty, joint(penalty, t, step, 0.8), t, step, 0.8)
        soft = ops.convert_to_numpy(
            penalty.prox(ops.convert_to_tensor(t), step)
        )
        norm = np.linalg.norm(soft, axis=0)
        composed = soft * np.maximum(1 - 0.8 / np.maximum(norm, 1e-300), 0)
        gap = objective(penalty, composed, t, step, 0.8) - exact
        assert np.all(gap >= -1e-12)
        assert np.mean(gap > 1e-6) > 0.25


def test_zero_exactly_at_the_bound():
    # Convex regime: zero iff ||soft(t, step r'(0))|| <= group_step.
    penalty, step = TransformedL1(1.0), 0.01
    t = np.array([0.3, 0.2, 0.005])[:, None]
    bound = np.linalg.norm(np.maximum(t - step * 2, 0))
    assert not joint(penalty, t, step, bound * (1 + 1e-9)).any()
    assert joint(penalty, t, step, bound * (1 - 1e-6)).any()


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
