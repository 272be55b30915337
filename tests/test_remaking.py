"""What a config cannot describe passes into the small model all the same."""

import warnings

import keras
import numpy as np
import pytest
from helpers import run
from keras import layers
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import configs
from keras_nonconvex import pruning

ARRAYS = np.random.default_rng(0)


def constant(*shape):
    return keras.initializers.Constant(ARRAYS.normal(size=shape))


def of_full_shape(shape, dtype=None):
    assert tuple(shape) == (6, 8)
    return ops.ones(shape, dtype)


def own_activation(x):
    return 2.0 * ops.relu(x)


def own_penalty(w):
    return 1e-3 * ops.sum(w**2)


class Regularizer(keras.regularizers.Regularizer):
    """Has an argument and no config."""

    def __init__(self, strength):
        self.strength = strength

    def __call__(self, w):
        return self.strength * ops.sum(w**2)


class Callable:
    """No class of Keras."""

    def __call__(self, x, dtype=None):
        return ops.ones(x) if isinstance(x, tuple) else ops.relu(x)


class Constraint(keras.constraints.Constraint):
    def __init__(self, most):
        self.most = most

    def __call__(self, w):
        return ops.minimum(w, self.most)


class Scaled(layers.Layer):
    """With a function in its config."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return self.function(x * self.scale)

    def get_config(self):
        return {**super().get_config(), "function": self.function}


class Undescribed(Scaled):
    """Keras cannot make its config."""

    get_config = layers.Layer.get_config


class Forgetful(layers.Layer):
    """Its config forgets both arguments, of which one has a default."""

    def __init__(self, units, factor=1.0, **options):
        super().__init__(**options)
        self.units = units
        self.factor = factor

    def build(self, shape):
        self.matrix = self.add_weight(
            shape=(shape[-1], self.units), name="matrix"
        )

    def call(self, x):
        return self.factor * ops.matmul(x, self.matrix)

    def get_config(self):
        return super().get_config()


class Bare(layers.Layer):
    """Its constructor takes nothing but its own argument."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x):
        return ops.matmul(x, self.matrix)


class Cell(layers.Layer):
    """Of a class that is not registered, inside of a layer of Keras."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x, states):
        y = ops.matmul(x, self.kernel) + states[0]
        return y, [y]


def before_head(*stack, shape=(6,)):
    x = inputs = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def dense(**options):
    return lambda: before_head(layers.Dense(8, **options))


def in_time(layer):
    pooled = layers.GlobalAveragePooling1D()
    return before_head(layers.TimeDistributed(layer), pooled, shape=(5, 6))


MODELS = {
    "matrix": dense(
        kernel_initializer=constant(6, 8), bias_initializer=constant(8)
    ),
    "function of the full shape": dense(kernel_initializer=of_full_shape),
    "lambda": dense(
        kernel_initializer=lambda shape, dtype=None: ops.ones(shape)
    ),
    "local initializer": dense(kernel_initializer=Callable()),
    "own functions": dense(
        activation=own_activation,
        kernel_regularizer=own_penalty,
        kernel_constraint=lambda w: w,
    ),
    "own objects": dense(
        activation=Callable(),
        kernel_regularizer=Regularizer(1e-3),
        bias_constraint=Constraint(1.0),
    ),
    "embedding": lambda: before_head(
        layers.Embedding(20, 8, embeddings_initializer=constant(20, 8)),
        layers.GlobalAveragePooling1D(),
        shape=(5,),
    ),
    "scales": lambda: before_head(
        layers.Dense(8),
        layers.BatchNormalization(gamma_initializer=constant(8)),
        layers.PReLU(alpha_initializer=constant(8)),
    ),
    "inside of a wrapper": lambda: in_time(
        layers.Dense(
            8,
            activation=own_activation,
            kernel_initializer=constant(6, 8),
            kernel_regularizer=Regularizer(1e-3),
        )
    ),
    "recurrent": lambda: before_head(
        layers.LSTM(
            8,
            recurrent_activation=own_activation,
            kernel_initializer=constant(6, 32),
            recurrent_initializer=lambda shape, dtype=None: ops.ones(shape),
        ),
        shape=(5, 6),
    ),
    "own cell": lambda: before_head(layers.RNN(Cell(7)), shape=(5, 6)),
    "own layer": lambda: before_head(
        layers.Dense(8), Scaled(own_activation), layers.Dense(6)
    ),
    "bare layer": lambda: before_head(
        layers.Dense(8), Bare(5), layers.Dense(6)
    ),
    "forgetful layer": lambda: before_head(
        layers.Dense(8), Forgetful(5, factor=3.0), layers.Dense(6)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_no_config_describes_serves_the_small_model(name):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    plan = pruning.plan(model, budget={"params": 0.8}, round_to=1)
    small, masked = plan.apply(model), plan.mask(model)
    # What has no rule is made anew as it is.
    assert small.count_params() == plan.after["params"]
    assert plan.met or name == "own cell"
    x = np.random.default_rng(1).integers(0, 6, (3, *model.input_shape[1:]))
    ((y,), (expected,)) = run(small, x), run(masked, x)
    np.testing.assert_allclose(y, expected, atol=1e-5 * abs(expected).max())
    everything = pruning.plan(model).mask(model)
    np.testing.assert_array_equal(run(everything, x), run(model, x))
    # Regularizers act on what is left; what was asked of the layers is kept.
    assert len(small.losses) == len(model.losses)
    for old, new in zip(model.layers, small.layers, strict=True):
        for attribute in (
            "activation",
            "kernel_regularizer",
            "kernel_constraint",
        ):
            assert getattr(new, attribute, 0) is getattr(old, attribute, 0)


def test_constants_are_folded_into_layers_that_no_config_describes():
    first = layers.Dense(8, activation="relu")
    last = layers.Dense(
        5, kernel_regularizer=own_penalty, bias_initializer=constant(5)
    )
    model = before_head(first, last)
    first.set_weights([np.zeros((6, 8)), np.linspace(0.1, 0.8, 8)])
    small = knc.prune(model)
    assert small.layers[1].units == 1
    x = np.ones((2, 6), "float32")
    np.testing.assert_allclose(run(small, x), run(model, x), rtol=1e-5)


def test_losses_and_teachers_take_copies_of_such_models():
    model = dense(
        kernel_initializer=constant(6, 8), activation=lambda x: ops.relu(x)
    )()
    x, y = np.ones((4, 6), "float32"), np.array([0, 1, 2, 0])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    plan = pruning.plan(
        model, "taylor", {"params": 0.7}, round_to=1, data=(x, y)
    )
    assert plan.met
    small = plan.apply(model)
    knc.fine_tune(small, x, y, teacher=model, epochs=1, verbose=0)


def test_initializers_that_fit_any_shape_stay():
    model = dense(
        kernel_initializer=keras.initializers.HeNormal(),
        bias_initializer=keras.initializers.Constant(0.5),
    )()
    small = knc.prune(model, budget={"params": 0.7}, round_to=1)
    fresh = keras.models.clone_model(small).layers[1]
    assert isinstance(fresh.kernel_initializer, keras.initializers.HeNormal)
    np.testing.assert_array_equal(fresh.bias, 0.5)
    assert np.any(np.asarray(fresh.kernel))


def test_what_a_bare_constructor_does_not_take_is_set():
    layer = Bare(5)
    layer.trainable = False
    layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    new = configs.anew(layer)
    assert (new.name, new.units, new.trainable) == (layer.name, 5, False)
    assert new.dtype_policy == layer.dtype_policy


def test_layers_without_a_config_are_refused_when_planned():
    model = before_head(
        layers.Dense(8), Undescribed(own_activation, name="odd")
    )
    with pytest.raises(ValueError) as raised:
        pruning.plan(model)
    message = str(raised.value)
    assert "Layer 'odd' cannot be made anew" in message
    assert "must override `get_config()`" in message
    assert message.endswith("Received: Undescribed") and len(message) < 350


def test_float8_is_refused_in_a_sentence():
    model = before_head(layers.Dense(8, name="wide"))
    model.quantize("float8")
    with pytest.raises(ValueError, match="'wide'.*: prune first, then call"):
        pruning.plan(model)


class Metric(keras.metrics.Metric):
    """Its config forgets an argument."""

    def __init__(self, limit, **options):
        super().__init__(**options)
        self.limit = limit
        self.total = self.add_weight(
            shape=(), initializer="zeros", name="total"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(ops.sum(ops.cast(y_pred > self.limit, "float32")))

    def result(self):
        return self.total


class Optimizer(keras.optimizers.SGD):
    def __init__(self, rate, **options):
        super().__init__(rate, **options)

    def get_config(self):
        raise NotImplementedError("no config here")


@pytest.mark.parametrize(
    "settings,cause",
    [
        ({"metrics": [Metric(0.5)]}, "'limit'"),
        ({"optimizer": Optimizer(0.1)}, "no config here"),
    ],
)
def test_a_small_model_that_cannot_be_compiled_is_given_back(settings, cause):
    model = dense()()
    model.compile(**{"optimizer": "sgd", "loss": "mse", **settings})
    with pytest.warns(UserWarning, match=cause) as told:
        small = knc.prune(model, budget={"params": 0.7}, round_to=1)
    (warning,) = [w for w in told if w.category is UserWarning]
    assert warning.filename == __file__ and "Received: model=" in str(
        warning.message
    )
    assert not small.compiled and small.count_params() < model.count_params()


def test_own_functions_of_metrics_and_schedules_come_along():
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 / (1.0 + ops.cast(step, "float32"))

    model = dense()()
    metric = keras.metrics.MeanMetricWrapper(
        lambda y_true, y_pred: ops.mean(y_pred), name="mean"
    )
    model.compile(
        keras.optimizers.SGD(Schedule()), lambda a, b: ops.mean((a - b) ** 2)
    )
    model.compile(model.optimizer, model.loss, metrics=[metric])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        small = knc.prune(model, budget={"params": 0.7}, round_to=1)
    x, y = np.ones((4, 6)), np.ones((4, 3))
    logs = small.fit(x, y, epochs=2, verbose=0).history
    assert set(logs) == {"loss", "mean"} and logs["loss"][1] < logs["loss"][0]
    assert float(metric.result()) == 0.0
