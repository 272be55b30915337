"""The battery that every registered regularizer must pass."""

import inspect

import keras
import numpy as np
import pytest
import strategies
import sweeps
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import regularizers
from keras_nonconvex.regularizers import lookup

NAMES = sorted(regularizers.REGISTRY)
SHAPE = (2, 2, 3, 5)
STRENGTHS = strategies.log_uniform(1e-3, 1.0)
GROUPS = st.sampled_from(
    ["filters", "input_channels", "kernels", "positions", "layer", (0, 1, -1)]
)
# What a constructor's options are drawn from, by their names.
OPTIONS = {
    "strength": STRENGTHS,
    "groups": GROUPS,
    "group_weights": st.sampled_from(["sqrt_size", None]),
    "group_strength": st.none() | STRENGTHS,
    "l1_strength": st.just(0.0) | STRENGTHS,
    "k": st.floats(0.2, 6.0) | st.sampled_from([1, 2, "40%", "100%"]),
    "debiased": st.booleans(),
    "base": st.sampled_from(["group_lasso", "exclusive", "group_half"]),
    "wrap": st.sampled_from(["none", "root", "square"]),
    "grouping": st.sampled_from(["feature", "neuron"]),
    "norm": st.sampled_from(["l2", "l1"]),
    "layer_weight": st.sampled_from([None, "sqrt"]),
    "decay": st.just(0.0) | STRENGTHS,
}


def is_generic(cls):
    """Whether a regularizer takes any penalty."""
    return "penalty" in inspect.signature(cls).parameters


def option_names(cls):
    """The constructor's parameters, with those that **options pass on."""
    names = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters
            names += parameters
            if "options" not in parameters:
                return names


@st.composite
def any_of(draw, name):
    """A legal instance of a registered regularizer."""
    cls = regularizers.REGISTRY[name]
    names = option_names(cls)
    options = {n: draw(OPTIONS[n]) for n in OPTIONS if n in names}
    if is_generic(cls):
        scalar = strategies.SCALAR if cls is knc.Elementwise else None
        options["penalty"] = draw(strategies.any_penalty(scalar))
    elif hasattr(cls(), "penalty"):
        penalty = draw(strategies.penalty(type(cls().penalty)))
        options |= penalty.get_config()
    return cls(**options)


def default(name, strength=0.1):
    """A plain instance of a registered regularizer."""
    cls = regularizers.REGISTRY[name]
    if is_generic(cls):
        return cls(penalties.LogSum(), strength)
    return cls(strength=strength)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def same(first, second):
    return (
        type(first) is type(second)
        and first.get_config() == second.get_config()
    )


def gradient(reg, w):
    import tensorflow as tf

    w = tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch(w)
        value = reg(w)
    found = tape.gradient(value, w)
    return np.zeros(w.shape) if found is None else found.numpy()


@pytest.mark.parametrize("name", NAMES)
class TestEveryRegularizer:
    @given(data=st.data())
    @examples(3)
    def test_no_prox_is_said(self, name, data):
        reg = data.draw(any_of(name))
        if not reg.has_prox:
            with pytest.raises(NotImplementedError, match="no prox"):
                reg.proximal(np.ones(SHAPE), 0.1)

    @examples(3)
    @given(data=st.data())
    def test_identities(self, name, data):
        reg = data.draw(any_of(name))
        w = data.draw(strategies.array(SHAPE))
        if not reg.has_prox:
            return
        np.testing.assert_array_equal(numpy(reg.proximal(w, 0.0)), w)
        x = numpy(reg.proximal(w, 0.1))
        np.testing.assert_array_equal(numpy(reg.proximal(-w, 0.1)), -x)
        zero = np.zeros(SHAPE)
        assert numpy(reg(zero)) == 0
        assert not numpy(reg.proximal(zero, 0.1)).any()
        # A step per group, all the same.
        axes = reg.group_axes(len(SHAPE))
        shape = [1 if i in axes else n for i, n in enumerate(SHAPE)]
        steps = np.full(shape, 0.1)
        np.testing.assert_allclose(
            numpy(reg.proximal(w, steps)), x, rtol=1e-9, atol=1e-12
        )

    @examples(3)
    @given(data=st.data())
    def test_gradient(self, name, data):
        """Central differences; finite, and zero, where weights are zero."""
        reg = data.draw(any_of(name))
        w = data.draw(strategies.array(SHAPE))
        w[np.abs(w) < 1e-3] = 0.3
        rng = np.random.default_rng(0)
        w *= 1 + 1e-2 * rng.normal(size=SHAPE)  # off the kinks
        found = gradient(reg, w)
        for _ in range(4):
            move = rng.normal(size=SHAPE)
            h = 1e-6
            up, down = (float(reg(w + s * h * move)) for s in (1, -1))
            numeric = (up - down) / (2 * h)
            assert (found * move).sum() == pytest.approx(
                numeric, rel=1e-4, abs=1e-6 * (1 + abs(up))
            )
        for dead in (np.s_[..., 0], np.s_[:, :, 1], np.s_[:]):
            w[dead] = 0.0
            found = gradient(reg, w)
            assert np.isfinite(found).all()
            assert not found[w == 0].any()

    def test_compiled(self, name):
        import tensorflow as tf

        reg = default(name)
        w = sweeps.generator(name).normal(size=SHAPE).astype("float32")

        def both(w):
            return reg(w), reg.proximal(w, 0.3) if reg.has_prox else w

        compiled = tf.function(both, jit_compile=True, autograph=False)
        for found, expected in zip(
            compiled(tf.constant(w)),
            both(keras.ops.convert_to_tensor(w)),
            strict=True,
        ):
            np.testing.assert_allclose(
                numpy(found), numpy(expected), rtol=2e-5, atol=2e-6
            )

    @examples(7)
    @given(data=st.data())
    def test_terms_add_up(self, name, data):
        reg = data.draw(any_of(name))
        w = data.draw(strategies.array(SHAPE))
        total = sum(float(term(w)) for term in reg.terms if term is not None)
        assert total == pytest.approx(float(reg(w)), rel=1e-9, abs=1e-12)

    @examples(7)
    @given(data=st.data())
    def test_serialization(self, name, data):
        reg = data.draw(any_of(name))
        config = keras.regularizers.serialize(reg)
        assert same(keras.regularizers.deserialize(config), reg)
        assert same(type(reg).from_config(reg.get_config()), reg)

    def test_saved_with_a_model(self, name, tmp_path):
        reg = default(name)
        model = keras.Sequential(
            [keras.Input((3,)), layers.Dense(4, kernel_regularizer=reg)]
        )
        model.save(tmp_path / "m.keras")
        loaded = keras.models.load_model(tmp_path / "m.keras")
        assert same(loaded.layers[-1].kernel_regularizer, reg)
        clone = keras.models.clone_model(model)
        assert same(clone.layers[-1].kernel_regularizer, reg)

    def test_low_precision_is_computed_in_float32(self, name):
        reg = default(name)
        w = np.random.default_rng(0).normal(size=SHAPE).astype("float16")
        assert keras.backend.standardize_dtype(reg(w).dtype) == "float32"
        if not reg.has_prox:
            return
        x = reg.proximal(keras.ops.convert_to_tensor(w), 0.5)
        assert keras.backend.standardize_dtype(x.dtype) == "float16"
        full = numpy(reg.proximal(w.astype("float32"), 0.5))
        np.testing.assert_allclose(numpy(x), full, atol=2e-3)

    def test_by_name(self, name):
        cls = regularizers.REGISTRY[name]
        if is_generic(cls):
            reg = regularizers.get(
                {
                    "name": name,
                    "strength": 0.2,
                    "penalty": {"class_name": "L1"},
                }
            )
        else:
            snake = lookup.snake(name)
            assert type(regularizers.get(snake)) is cls
            assert type(regularizers.get(name)) is cls
            reg = regularizers.get({"name": snake, "strength": 0.2})
        assert type(reg) is cls and reg.strength == 0.2


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: regularizers.get("group"), "cannot be made"),
        (
            lambda: regularizers.get(knc.constraints.MaxNonzero(2)),
            "must be given",
        ),
        (lambda: regularizers.get(3), "must be given"),
        (lambda: knc.HierarchicalGroup(base=["exclusive"]), "`base`"),
        (lambda: knc.HierarchicalGroup(grouping=None), "`grouping`"),
        (lambda: knc.HierarchicalGroup.released(mix=2.0), "`mix`"),
        (lambda: knc.GroupHoyerSquare(groups=5), "`groups`"),
        (lambda: knc.GroupHoyerSquare(groups=None), "`groups`"),
        (lambda: knc.GroupLasso(1, groups=(0, -4))(np.ones(SHAPE)), "twice"),
        (lambda: knc.GroupLasso(1, group_weights="123"), "`group_weights`"),
        (lambda: knc.GroupLasso(1, group_weights={1, 2}), "`group_weights`"),
        (
            lambda: knc.GroupLasso(1, group_weights=[1, 2])(np.ones(SHAPE)),
            "`group_weights`",
        ),
        (lambda: knc.GroupLasso(1).proximal(np.ones(SHAPE), -1.0), "`step`"),
        (lambda: knc.Elementwise(penalties.L1MinusL2(), 1), "`penalty`"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "Received: " in str(error.value)


def test_keras_own_by_name():
    assert isinstance(regularizers.get("l2"), keras.regularizers.L2)
    assert regularizers.get(None) is None
    assert type(knc.GroupLasso(1, groups=(np.int64(0),)).groups[0]) is int


def test_hoyer_of_tiny_weights():
    import tensorflow as tf

    w = tf.random.stateless_normal((3, 3, 2, 4), (0, 0)) * 1e-20
    for reg in (knc.HoyerSquare(1.0), knc.GroupHoyerSquare(1.0)):
        assert float(reg(w)) == pytest.approx(float(reg(w * 1e20)), rel=1e-5)

        @tf.function(jit_compile=True, autograph=False)
        def slope(w, reg=reg):
            return tf.gradients(reg(w), w)[0]

        assert np.isfinite(slope(w).numpy()).all()


def test_snake_names():
    assert lookup.snake("SparseGroupTL1") == "sparse_group_tl1"
    assert lookup.snake("GroupL0") == "group_l0"


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


def test_l1_minus_l2_over_a_layer_is_split_from_the_groups():
    reg = knc.SparseGroupL1L2(0.3, alpha=0.8, group_strength=0.2, over="layer")
    w = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32")
    norms = np.sqrt(np.square(w).sum((0, 1, 2)))
    own = 0.3 * (np.abs(w).sum() - 0.8 * np.linalg.norm(w))
    value = own + 0.2 * np.sqrt(18) * norms.sum()
    assert float(reg(w)) == pytest.approx(value, rel=1e-5)
    # (i) of Lou and Yan: soft thresholding, then longer by alpha mu.
    soft = np.sign(w) * np.maximum(np.abs(w) - 0.3 * 0.5, 0.0)
    longer = 1.0 + 0.8 * 0.3 * 0.5 / np.linalg.norm(soft)
    split = numpy(reg.terms.elementwise.proximal(w, 0.5))
    np.testing.assert_allclose(split, soft * longer, rtol=1e-4, atol=1e-6)
    assert not reg.has_prox and same(reg, type(reg)(**reg.get_config()))
    with pytest.raises(ValueError, match="Received: over='filters'"):
        knc.SparseGroupL1L2(over="filters")
