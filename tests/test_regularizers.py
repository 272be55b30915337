"""The battery that every registered regularizer must pass."""

import keras
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import regularizers

GENERIC = (knc.Elementwise, knc.Group, knc.SparseGroup)
NAMES = sorted(regularizers.REGISTRY)
SHAPE = (2, 2, 3, 5)


@st.composite
def any_of(draw, name):
    """A legal instance of a registered regularizer."""
    cls = regularizers.REGISTRY[name]
    strength = draw(strategies.log_uniform(1e-3, 1.0))
    options = {}
    if issubclass(cls, knc.Group):
        options["groups"] = draw(
            st.sampled_from(
                ["filters", "input_channels", "kernels", "positions", "layer"]
            )
        )
        options["group_weights"] = draw(st.sampled_from(["sqrt_size", None]))
    if issubclass(cls, knc.SparseGroup):
        options["group_strength"] = draw(
            st.none() | strategies.log_uniform(1e-3, 1.0)
        )
    if cls in GENERIC:
        return cls(draw(strategies.any_penalty()), strength, **options)
    return cls(strength, **options)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def objective(reg, x, w, step):
    value = numpy(reg(keras.ops.convert_to_tensor(x))).item()
    return step * value + ((x - w) ** 2).sum() / 2


def same(first, second):
    return (
        type(first) is type(second)
        and first.get_config() == second.get_config()
    )


@pytest.mark.parametrize("name", NAMES)
class TestEveryRegularizer:
    @settings(max_examples=25)
    @given(data=st.data())
    def test_prox_beats_what_is_near(self, name, data):
        reg = data.draw(any_of(name))
        w = data.draw(strategies.array(SHAPE))
        step = data.draw(strategies.log_uniform(1e-3, 1.0))
        x = numpy(reg.proximal(w, step))
        assert np.all(np.abs(x) <= np.abs(w) + 1e-12)
        assert np.all(x * w >= 0)
        found = objective(reg, x, w, step)
        slack = 1e-9 * (w**2).sum()
        rng = np.random.default_rng(0)
        for scale in (1e-1, 1e-3):
            for _ in range(8):
                other = x + scale * rng.normal(size=SHAPE) * (
                    rng.random(SHAPE) < 0.5
                )
                assert found <= objective(reg, other, w, step) + slack
        # One group more or less.
        for axis in range(len(SHAPE)):
            for index in range(SHAPE[axis]):
                for value in (0.0, 0.9):
                    other = np.moveaxis(x.copy(), axis, 0)
                    other[index] = value * np.moveaxis(w, axis, 0)[index]
                    other = np.moveaxis(other, 0, axis)
                    assert found <= objective(reg, other, w, step) + slack

    @settings(max_examples=15)
    @given(data=st.data())
    def test_identities(self, name, data):
        reg = data.draw(any_of(name))
        w = data.draw(strategies.array(SHAPE))
        np.testing.assert_array_equal(numpy(reg.proximal(w, 0.0)), w)
        np.testing.assert_array_equal(
            numpy(reg.proximal(-w, 0.1)), -numpy(reg.proximal(w, 0.1))
        )
        zero = np.zeros(SHAPE)
        assert numpy(reg(zero)) == 0
        assert not numpy(reg.proximal(zero, 0.1)).any()

    @settings(max_examples=10)
    @given(data=st.data())
    def test_serialization(self, name, data):
        reg = data.draw(any_of(name))
        config = keras.regularizers.serialize(reg)
        assert same(keras.regularizers.deserialize(config), reg)
        assert same(type(reg).from_config(reg.get_config()), reg)

    def test_saved_with_a_model(self, name, tmp_path):
        cls = regularizers.REGISTRY[name]
        args = (penalties.L1(),) if cls in GENERIC else ()
        reg = cls(*args, 0.01)
        model = keras.Sequential(
            [keras.Input((3,)), layers.Dense(4, kernel_regularizer=reg)]
        )
        model.save(tmp_path / "m.keras")
        loaded = keras.models.load_model(tmp_path / "m.keras")
        assert same(loaded.layers[-1].kernel_regularizer, reg)
        clone = keras.models.clone_model(model)
        assert same(clone.layers[-1].kernel_regularizer, reg)

    def test_low_precision_is_computed_in_float32(self, name):
        cls = regularizers.REGISTRY[name]
        args = (penalties.TransformedL1(),) if cls in GENERIC else ()
        reg = cls(*args, 0.1)
        w = np.random.default_rng(0).normal(size=SHAPE).astype("float16")
        assert keras.backend.standardize_dtype(reg(w).dtype) == "float32"
        x = reg.proximal(keras.ops.convert_to_tensor(w), 0.5)
        assert keras.backend.standardize_dtype(x.dtype) == "float16"
        full = numpy(reg.proximal(w.astype("float32"), 0.5))
        np.testing.assert_allclose(numpy(x), full, atol=2e-3)

    def test_by_name(self, name):
        cls = regularizers.REGISTRY[name]
        if cls in GENERIC:
            reg = regularizers.get(
                {
                    "name": name,
                    "strength": 0.2,
                    "penalty": {"class_name": "L1"},
                }
            )
        else:
            snake = regularizers._snake(name)
            assert type(regularizers.get(snake)) is cls
            assert type(regularizers.get(name)) is cls
            reg = regularizers.get({"name": snake, "strength": 0.2})
        assert type(reg) is cls and reg.strength == 0.2


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, cls in sorted(regularizers.REGISTRY.items())
        if issubclass(cls, knc.Group) and not issubclass(cls, knc.SparseGroup)
    ],
)
def test_size_one_groups_are_elementwise(name):
    cls = regularizers.REGISTRY[name]
    args = (penalties.TransformedL1(0.5),) if cls in GENERIC else ()
    reg = cls(*args, 0.1, groups="weights")
    plain = knc.Elementwise(reg.penalty, 0.1)
    w = np.random.default_rng(0).normal(size=SHAPE)
    np.testing.assert_allclose(numpy(reg(w)), numpy(plain(w)), rtol=1e-9)
    np.testing.assert_allclose(
        numpy(reg.proximal(w, 0.7)), numpy(plain.proximal(w, 0.7))
    )


def test_snake_names():
    assert regularizers._snake("SparseGroupTL1") == "sparse_group_tl1"
    assert regularizers._snake("GroupL0") == "group_l0"


def test_values_by_hand():
    w = np.array([[3.0, 0.0], [4.0, 1.0]])
    sqrt2 = np.sqrt(2)
    for reg, value in (
        (knc.Elementwise(penalties.L1(), 0.5), 4.0),
        (knc.GroupLasso(2.0), 2 * sqrt2 * 6),
        (knc.GroupLasso(2.0, group_weights=None), 12.0),
        (knc.GroupL0(1.0, groups="layer"), 2.0),
        (knc.SparseGroupL1(1.0, group_strength=0.1), 8 + 0.6 * sqrt2),
        (knc.SparseGroupL1(1.0), 8 + 6 * sqrt2),
        (knc.GroupTL1(1.0, a=1.0, group_weights=None), 2 * 5 / 6 + 1.0),
    ):
        assert numpy(reg(w)).item() == pytest.approx(value)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: knc.GroupLasso(-1), "`strength` must be a finite number >= 0"),
        (lambda: knc.GroupLasso("x"), "`strength`"),
        (lambda: knc.SparseGroupL1(1, group_strength=-1), "`group_strength`"),
        (lambda: knc.GroupLasso(1, groups="rows"), "`groups`"),
        (lambda: knc.GroupLasso(1, group_weights="n"), "`group_weights`"),
        (lambda: knc.Elementwise("l1", 1), "`penalty`"),
        (lambda: knc.SparseGroupTL1(1, a=0), "`a`"),
        (lambda: regularizers.get("group_laso"), "Near names: GroupLasso"),
        (
            lambda: regularizers.get({"name": "group_lasso", "strenght": 1}),
            "cannot be made",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "Received:" in str(error.value)
