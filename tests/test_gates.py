"""Hard-concrete gates: what they cost, and the model without them."""

import keras
import numpy as np
import pytest

import keras_nonconvex as knc
from keras_nonconvex.training import gates


def layer(log_alpha, strength=1.0):
    made = gates.HardConcrete(strength)
    made.build((None, len(log_alpha)))
    made.log_alpha.assign(log_alpha)
    return made


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_the_price_of_a_gate_is_its_probability_not_to_be_zero():
    log_alpha = np.array([-3.0, -1.0, 0.0, 2.0], "float32")
    gate = layer(log_alpha, strength=0.5)
    # An even sample of (0, 1) in place of a random one.
    u = ((np.arange(20_000) + 0.5) / 20_000).astype("float32")[:, None]
    drawn = numpy(gate.gates(u))
    assert drawn.min() == 0.0 and drawn.max() == 1.0
    share = (drawn > 0).mean(0)
    np.testing.assert_allclose(numpy(gate.open()), share, atol=2e-4)
    gate(np.ones((1, 4), "float32"))
    assert float(gate.losses[0]) == pytest.approx(0.5 * share.sum(), rel=1e-3)


def test_a_trained_gate_is_the_clipped_sigmoid_of_its_parameter():
    gate = layer(np.array([-3.0, 0.0, 3.0], "float32"))
    out = numpy(gate(np.ones((2, 3), "float32")))
    np.testing.assert_allclose(out, [[0.0, 0.5, 1.0]] * 2, atol=1e-6)


def test_gates_cost_the_weights_that_they_switch_off():
    strength = 0.25
    model = gates.gated(knc.models.lenet5(), strength)
    prices = {
        one.name: one.strength
        for one in model.layers
        if isinstance(one, gates.HardConcrete)
    }
    assert prices == {
        "conv1_gates": strength * 25,
        "conv2_gates": strength * 500,
        "dense1_gates": strength * 500,
        "dense2_gates": strength * 10,
    }


def test_the_model_without_its_gates_gives_the_same_and_can_be_pruned():
    model = gates.gated(knc.models.lenet5(), 0.0)
    rng = np.random.default_rng(0)
    for one in model.layers:
        if isinstance(one, gates.HardConcrete):
            shape = one.log_alpha.shape
            one.log_alpha.assign(4.0 * rng.choice([-1.0, 0.1, 1.0], shape))
        elif one.weights:
            one.bias.assign(rng.normal(size=one.bias.shape))
    x = rng.uniform(size=(5, 28, 28, 1)).astype("float32")
    plain = gates.ungated(model)
    assert not isinstance(plain, knc.ProximalModel)
    assert plain.count_params() == 431_080
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(plain(x), expected, rtol=1e-4, atol=1e-6)
    small = knc.prune(plain)
    assert small.count_params() < 0.6 * plain.count_params()
    np.testing.assert_allclose(small(x), expected, rtol=1e-4, atol=1e-5)
