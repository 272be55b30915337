"""The envelope and the half-space step, over the classes of a network."""

import keras
import numpy as np
import pytest
from keras import ops
from test_coupled import classes
from test_coupled import residual
from test_coupled import times
from test_coupled import values_of

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import pruning
from keras_nonconvex.solvers import ProximalGradient

TRUE = ops.convert_to_tensor(True)


@pytest.fixture(scope="module")
def model():
    return residual()


def roots(coupled):
    """The root mean square of each class, and its size."""
    vectors = classes(coupled, values_of(coupled))
    sizes = np.array([len(v) for v in vectors])
    norms = np.array([np.linalg.norm(v) for v in vectors])
    return norms / np.sqrt(sizes), sizes


def data(n=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10, 10, 3)).astype("float32")
    return x, rng.integers(0, 4, n)


def trained(coupled, **options):
    model = residual()
    model.compile(
        keras.optimizers.SGD(0.02, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        coupled=coupled(model),
        solver=ProximalGradient(**options),
    )
    return model


def zeros(model):
    return roots(model.coupled)[0] == 0


def test_a_weight_decay_for_k_classes_and_more_for_more_of_them(model):
    envelope = knc.CoupledEnvelope(model, 7, 0.3)
    scale, sizes = roots(envelope)
    few = np.argsort(-scale)[:7]
    values = times(envelope, values_of(envelope), np.isin(range(18), few))
    # sum_c d_c ||w_c||^2 / 2 with d_c = n_c / mean n.
    decay = 0.3 * sizes**2 / sizes.mean() * scale**2 / 2
    found = float(envelope.value(values))
    assert found == pytest.approx(decay[few].sum(), rel=1e-5)
    assert float(envelope.value(values_of(envelope))) > decay.sum() * 1.01


def envelope_of(x, k, d):
    """min_u sum_j d_j x_j^2 / (2 u_j) by sorting (Argyriou et al. 2012)."""
    a = -np.sort(-np.sqrt(d) * x)
    for q in range(k):
        rest = a[q:].sum() / (k - q)
        if rest > a[q] and (q == 0 or a[q - 1] >= rest):
            break
    return (a[:q] ** 2).sum() / 2 + a[q:].sum() ** 2 / (2 * (k - q))


@pytest.mark.parametrize("debiased", [False, True])
def test_nothing_nearby_beats_the_prox_of_the_envelope(debiased, model):
    envelope = knc.CoupledEnvelope(model, 7, 0.2, debiased=debiased, decay=0.1)
    d = roots(envelope)[1] / roots(envelope)[1].mean()
    rng = np.random.default_rng(0)
    t = rng.uniform(0.1, 3.0, 18)
    x = ops.convert_to_numpy(envelope.term.proximal(t, 0.9))

    def term(x):
        plain = envelope_of(x, 7, d) - debiased * (d * x**2).sum() / 2
        return 0.2 * plain + 0.05 * (x**2).sum()

    def objective(x):
        return 0.9 * term(x) + ((x - t) ** 2).sum() / 2

    assert float(envelope.term.value(t)) == pytest.approx(term(t))
    least = objective(x)
    for width in (1e-3, 0.03, 0.3):
        for _ in range(200):
            near = np.maximum(x + width * rng.normal(size=18), 0.0)
            assert least <= objective(near) + 1e-9


def test_training_ends_with_exactly_k_classes_of_the_whole_network():
    model = trained(lambda m: knc.CoupledEnvelope(m, 9, 0.05))
    monitor = knc.callbacks.SparsityMonitor()
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(roots(model.coupled)[0])
    )
    logs = model.fit(
        *data(), batch_size=8, epochs=2, verbose=0, callbacks=[monitor, watch]
    ).history
    scale, _ = roots(model.coupled)
    assert (scale > 0).sum() == 9
    assert logs["zero_groups"] == [9, 9]
    # Those of the largest root mean square.
    np.testing.assert_array_equal(
        np.sort(np.argsort(-seen[-1])[:9]), np.flatnonzero(scale)
    )
    assert all((s > 0).sum() >= 9 for s in seen)
    x, _ = data(4)
    small = pruning.plan(model).apply(model)
    a, b = (ops.convert_to_numpy(m(x, training=False)) for m in (model, small))
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_a_class_dies_where_one_update_turns_it_too_far(model):
    coupled = knc.CoupledGroups(model, penalties.L1(), 0.0)
    rng = np.random.default_rng(0)
    old = values_of(coupled)
    old = times(coupled, old, np.arange(18) != 4)
    new = [
        0.6 * v + 0.3 * rng.normal(size=v.shape).astype("float32") for v in old
    ]
    pairs = zip(classes(coupled, new), classes(coupled, old), strict=True)
    ratios = np.array([a @ b / max(b @ b, 1e-12) for a, b in pairs])
    epsilon = np.median(ratios)
    assert epsilon < 1.0
    found = coupled.half_space(new, old, 0.1, 1.0, 0.0, TRUE, epsilon, None)
    lives = ratios >= epsilon
    # What was zero stays so.
    lives[4] = False
    expected = times(coupled, new, lives)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), b)
    off = ops.convert_to_tensor(False)
    found = coupled.half_space(new, old, 0.1, 1.0, 0.0, off, epsilon, None)
    for a, b in zip(found, new, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), b)


def test_the_half_space_step_leaves_what_must_stay(model):
    plan = pruning.plan(model, "group_norm", {"macs": 0.5}, 1)

    def left(coupled, keep=None):
        old = values_of(coupled)
        new = [-v for v in old]
        new = coupled.half_space(new, old, 0.1, 1.0, 0.0, TRUE, 0.5, keep)
        return int((ops.convert_to_numpy(coupled.norms(new)) > 0).sum())

    l1 = penalties.L1()
    assert left(knc.CoupledGroups(model, l1, 0.1)) == 1
    assert left(knc.CoupledGroups(model, l1, 0.1), 5) == 5
    assert left(knc.CoupledGroups(model, l1, 0.1, plan=plan)) == 0
    assert left(knc.CoupledEnvelope(model, "50%", 0.1)) == 9
    # A ridge that shrinks by 1 / (1 + step strength d) kills no class.
    envelope = knc.CoupledEnvelope(model, 3, 5.0, group_weights=None)
    old = values_of(envelope)
    shrunk = [v / 1.5 for v in old]
    new = envelope.half_space(shrunk, old, 0.1, 1.0, 0.0, TRUE, 0.9, None)
    assert (ops.convert_to_numpy(envelope.norms(new)) > 0).all()


def test_zeros_stay_zero_under_half_space_steps():
    model = trained(
        lambda m: knc.CoupledGroups(m, penalties.L1(), 0.2), half_space=0.95
    )
    dead = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: dead.append(zeros(model))
    )
    model.fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[watch])
    assert dead[-1].any() and not dead[-1].all()
    for before, after in zip(dead, dead[1:], strict=False):
        assert not (before & ~after).any()


def test_the_envelope_is_saved_and_loaded(tmp_path):
    model = trained(
        lambda m: knc.CoupledEnvelope(
            m, "40%", 1e-3, debiased=True, group_weights="params"
        )
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.coupled, knc.CoupledEnvelope)
    assert loaded.coupled.get_config() == model.coupled.get_config()
    assert repr(loaded.coupled) == repr(model.coupled)


def test_a_decay_beside_the_optimizers_is_pointed_out():
    model = residual()
    for coupled in (
        knc.CoupledEnvelope(model, 5, 1e-3),
        knc.CoupledGroups(model, penalties.L1(), 1e-3, decay=1e-3),
    ):
        with pytest.warns(UserWarning, match="is a weight decay already"):
            model.compile(keras.optimizers.AdamW(1e-3), "mse", coupled=coupled)
