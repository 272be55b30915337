"""Plan first, then train to zero: by a penalty that grows, or softly."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from test_coupled import residual
from test_coupled_envelope import data
from test_coupled_envelope import roots

import keras_nonconvex as knc
from keras_nonconvex import callbacks
from keras_nonconvex import penalties
from keras_nonconvex import pruning

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(model, optimizer=None, **options):
    model.compile(
        optimizer or keras.optimizers.SGD(0.02, momentum=0.9), LOSS, **options
    )
    return model


def assert_same(first, second, tolerance=1e-5):
    x, _ = data(8)
    a, b = (ops.convert_to_numpy(m(x, training=False)) for m in (first, second))
    np.testing.assert_allclose(a, b, atol=tolerance * np.abs(a).max())


def test_the_growth_ends_with_the_planned_channels_exactly_zero():
    model = residual()
    plan = pruning.plan(model, "group_norm", {"macs": 0.5}, 1)
    dropped = sum(len(p.keep) - sum(p.keep) for p in plan.layers)
    groups = knc.CoupledGroups(
        model, penalties.TransformedL1(), 1e-4, plan=plan
    )
    every_class = knc.CoupledGroups(model, penalties.L1(), 1.0)
    compiled(model, coupled=groups)
    target = callbacks.TargetSparsity(
        1.0, of="groups", mode="grow", speed=2.0, every=2
    )
    steps = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(batch)
    )
    model.fit(
        *data(), batch_size=8, epochs=20, verbose=0, callbacks=[target, count]
    )
    # It ended where all were zero, not with an epoch.
    assert target.fraction == 1.0 and len(steps) < 160
    scale, _ = roots(model.coupled)
    assert (scale == 0).all()
    # These and no others: in terms of layers, as tied channels go together.
    zero = every_class.norms(
        [ops.convert_to_tensor(v) for v in every_class.variables]
    )
    assert (ops.convert_to_numpy(zero) == 0).sum() == len(scale)
    small = plan.apply(model)
    assert_same(model, small)
    again = pruning.plan(model)
    assert sum(len(p.keep) - sum(p.keep) for p in again.layers) == dropped
    assert_same(model, again.apply(model))


def test_a_plan_is_saved_with_its_groups(tmp_path):
    model = residual()
    plan = pruning.plan(model, "group_norm", {"macs": 0.5}, 1)
    groups = knc.CoupledGroups(model, penalties.L1(), 1e-3, plan=plan)
    assert 0 < groups.count < 18
    compiled(model, coupled=groups).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.coupled.plan.to_json() == plan.to_json()
    assert loaded.coupled.count == groups.count


def test_a_plan_may_drop_only_what_trains():
    model = residual()
    plan = pruning.plan(model, "group_norm", {"macs": 0.5}, 1)
    model.trainable = False
    with pytest.raises(ValueError, match="without a trainable weight"):
        knc.CoupledGroups(model, penalties.L1(), 1e-3, plan=plan)


def test_a_budget_stops_training_within_an_epoch():
    model = residual()
    compiled(model, coupled=knc.CoupledGroups(model, penalties.L1(), 0.05))
    fractions = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: fractions.append(
            (roots(model.coupled)[0] == 0).mean()
        )
    )
    target = callbacks.TargetSparsity(0.5, of="groups", mode="stop", every=1)
    model.fit(
        *data(256),
        batch_size=4,
        epochs=1,
        verbose=0,
        callbacks=[target, watch],
    )
    assert len(fractions) < 64
    # Right after the step in which it was reached.
    assert fractions[-1] >= 0.5 > fractions[-2]
    assert target.fraction == fractions[-1]
    assert ops.convert_to_numpy(model.solver_state.strength) == 1.0


# ---- soft pruning


def plain():
    model = residual()
    return compiled(keras.Model(model.input, model.output))


def zero_filters(model):
    """{layer name: how many filters are zero} of the convolutions."""
    return {
        layer.name: int(
            (ops.convert_to_numpy(layer.kernel) == 0).all((0, 1, 2)).sum()
        )
        for layer in model.layers
        if isinstance(layer, layers.Conv2D)
    }


def test_soft_zeros_grow_again_until_they_are_exact():
    model, seen = plain(), []

    class Watch(keras.callbacks.Callback):
        # After the epoch's last step, and after it was pruned.
        def on_train_batch_end(self, batch, logs=None):
            self.now = zero_filters(self.model)

        def on_epoch_end(self, epoch, logs=None):
            seen.append((self.now, zero_filters(self.model)))

    # By this criterion zero filters are not those of the lowest scores.
    soft = callbacks.SoftPruning(0.4, "geometric_median")
    model.fit(
        *data(), batch_size=8, epochs=3, verbose=0, callbacks=[soft, Watch()]
    )
    for before, after in seen:
        assert set(before.values()) == {0}
        # int(.4 8) of the trunk, int(.4 5) of each block.
        assert after == {
            "stem": 3,
            "one_in": 2,
            "one_out": 3,
            "two_in": 2,
            "two_out": 3,
        }
    # Zeros, not constants that 'same' padding would keep.
    plan = pruning.plan(model, on_constant="keep")
    kept = {p.name: p.channels for p in plan.layers}
    assert kept["stem"] == (8, 5) and kept["two_in"] == (5, 3)
    assert_same(model, plan.apply(model))


def test_the_asymptotic_rate_goes_through_its_three_points():
    soft = callbacks.SoftPruning(0.4, asymptotic=True)
    rates = [soft.rate_after(p) for p in (0.0, 1 / 8, 1.0)]
    np.testing.assert_allclose(rates, [0.0, 0.3, 0.4], atol=1e-4)
    assert rates[2] == 0.4
    # It rises, and ever less.
    steps = np.diff([soft.rate_after(p) for p in np.linspace(0, 1, 30)])
    assert (steps > 0).all() and (np.diff(steps) < 0).all()
    assert callbacks.SoftPruning(0.4).rate_after(0.1) == 0.4


def test_soft_pruning_says_what_it_cannot_go_with():
    def fit(rate=0.4, model=None, more=(), **options):
        model = model or compiled(plain(), **options)
        soft = callbacks.SoftPruning(rate)
        model.fit(*data(8), verbose=0, callbacks=[soft, *more])

    def proximal(**options):
        model = residual()
        if "VariableSplitting" in repr(options["solver"]):
            model = knc.attach(model, knc.GroupLasso(1e-3))
        return compiled(model, **options)

    solvers = knc.solvers
    frozen = plain()
    frozen.trainable = False
    for attempt, message in (
        (lambda: fit(more=[callbacks.Freeze()]), "can grow again"),
        (lambda: fit(optimizer=keras.optimizers.Ftrl()), "undoes exact zeros"),
        (
            lambda: fit(optimizer=keras.optimizers.SGD(use_ema=True)),
            "running averages",
        ),
        (
            lambda: fit(
                model=proximal(solver=solvers.ProximalGradient(half_space=0.0))
            ),
            "without a half-space step",
        ),
        (
            lambda: fit(model=proximal(solver=solvers.VariableSplitting())),
            "without a half-space step",
        ),
        (lambda: fit(0.1), "some layer loses a channel"),
        (lambda: fit(model=compiled(frozen)), "layers that train"),
        (lambda: fit(1.0), "`rate` must be"),
        (lambda: callbacks.SoftPruning(0.3, "size"), "`criterion` must be"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            attempt()
        assert "Received:" in str(error.value)
