"""Sizes in the configs of layers: each is cut with the channels it counts.

Walks all Keras layers that have a rule, and all of their arguments: the width
of the model occurs nowhere else, so what is left of it was forgotten.
"""

import inspect
import re

import keras
import numpy as np
import pytest
from helpers import run
from keras import layers
from keras import ops

from keras_nonconvex import pruning
from keras_nonconvex.pruning import rules

WIDTH = 13

# Arguments that hold no number of channels, whatever they are.
WITHOUT_SIZES = set(
    """
    activation activity_regularizer alpha antialias attention_axes axes axis
    backward_layer bias_axes center crop_to_aspect_ratio cropping data_format
    depth_multiplier dilation_rate dims dropout dtype epsilon equation
    fill_mode fill_value flash_attention go_backwards height input_dim
    interpolation invert keepdims kernel_size key_dim kwargs l1 l2 lora_alpha
    lora_rank mask_value mask_zero max_value mean merge_mode momentum n name
    negative_slope normalize num_heads offset output_padding output_size
    pad_to_aspect_ratio padding pool_size power_iterations quantization_config
    rate
    recurrent_activation recurrent_dropout renorm renorm_clipping
    renorm_momentum reset_after return_sequences return_state scale seed self
    shared_axes size sliding_window stateful stddev strides synchronized
    threshold unit_forget_bias unroll use_bias use_cudnn use_gate value_dim
    variance weights width gptq_unpacked_column_size
    """.split()
)
SUFFIXES = ("_constraint", "_initializer", "_regularizer")


# The arguments with which a layer is made, and the shape of what it gets.
ARGUMENTS = {
    layers.Activation: {"activation": "relu"},
    layers.AlphaDropout: {"rate": 0.5, "noise_shape": (None, 1, 1, WIDTH)},
    layers.Bidirectional: {"layer": lambda: layers.GRU(WIDTH)},
    layers.CenterCrop: {"height": 2, "width": 2},
    layers.Dense: {"units": WIDTH},
    layers.Dot: {"axes": 2},
    layers.Dropout: {"rate": 0.5, "noise_shape": (None, 1, 1, WIDTH)},
    layers.EinsumDense: {
        "equation": "abcd,de->abce",
        "output_shape": (4, 4, WIDTH),
        "bias_axes": "e",
    },
    layers.Embedding: {"input_dim": 9, "output_dim": WIDTH},
    layers.GaussianDropout: {"rate": 0.5},
    layers.GaussianNoise: {"stddev": 0.5},
    layers.GroupNormalization: {"groups": WIDTH},
    layers.LayerNormalization: {"axis": [1, 2]},
    layers.MultiHeadAttention: {
        "num_heads": WIDTH,
        "key_dim": 2,
        "output_shape": WIDTH,
    },
    layers.Permute: {"dims": (3, 1, 2)},
    layers.RepeatVector: {"n": 3},
    layers.Rescaling: {"scale": 0.5},
    layers.Reshape: {"target_shape": (16, WIDTH)},
    layers.Resizing: {"height": 3, "width": 3},
    layers.Softmax: {"axis": 1},
    layers.SpectralNormalization: {"layer": lambda: layers.Dense(WIDTH)},
    layers.TimeDistributed: {"layer": lambda: layers.Dense(WIDTH)},
}
for kind in rules.REGISTRY:
    if isinstance(kind, type):
        parameters = inspect.signature(kind.__init__).parameters
        more = {
            "filters": WIDTH,
            "units": WIDTH,
            "kernel_size": 1,
            "groups": WIDTH if "Conv" in kind.__name__ else None,
            "output_size": 2,
            "pool_size": 2,
            "rate": 0.5,
        }
        ARGUMENTS[kind] = {
            **{
                key: value
                for key, value in more.items()
                if key in parameters and value is not None
            },
            **ARGUMENTS.get(kind, {}),
        }

SEQUENCES = (
    layers.Bidirectional,
    layers.Dot,
    layers.GRU,
    layers.LSTM,
    layers.MultiHeadAttention,
    layers.SimpleRNN,
)
# What a rule judges by its function, not by its arguments.
JUDGED = (keras.Operation, layers.Lambda)
KERAS = [
    kind
    for kind in ARGUMENTS
    if kind.__module__.startswith("keras.") and kind not in JUDGED
]


def shape_for(kind):
    """The axes of positions that a layer wants."""
    if kind is layers.RepeatVector:
        return ()
    rank = re.search("[123](?=D)", kind.__name__)
    if rank or kind in SEQUENCES:
        return (4,) * (int(rank[0]) if rank else 1)
    return (4, 4)


def model_of(kind, **options):
    arguments = {
        key: value() if callable(value) else value
        for key, value in {**ARGUMENTS[kind], **options}.items()
    }
    layer = kind(name="layer", **arguments)
    if kind is layers.Embedding:
        inputs = keras.Input((4,), dtype="int32")
        x = layer(inputs)
    else:
        inputs = keras.Input((*shape_for(kind), 3))
        x = layers.Dense(WIDTH, name="front")(inputs)
        y = layers.Dense(WIDTH)(inputs)
        joins = "inputs" in inspect.signature(kind.call).parameters and (
            kind.__module__.split(".")[-2] == "merging"
        )
        if kind is layers.MultiHeadAttention:
            x = layer(x, y)
        else:
            x = layer([x, y]) if joins else layer(x)
    x = layers.Dense(2)(layers.Flatten()(x))
    return keras.Model(inputs, x)


def sizes(config):
    """All numbers of a config."""
    if isinstance(config, dict):
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        return [n for value in config for n in sizes(value)]
    return [config] if isinstance(config, (int, float)) else []


@pytest.mark.parametrize("kind", KERAS, ids=lambda kind: kind.__name__)
def test_every_argument_of_a_layer_is_known(kind):
    for name in inspect.signature(kind.__init__).parameters:
        known = name in WITHOUT_SIZES or name.endswith(SUFFIXES)
        assert known or name in ARGUMENTS[kind], f"{kind.__name__}: {name}"


OPTIONS = [
    (layers.BatchNormalization, {"renorm": True}),
    (layers.MultiHeadAttention, {"use_gate": True}),
    (layers.MultiHeadAttention, {"sliding_window": 2}),
    (layers.EinsumDense, {"bias_axes": "bce"}),
    (layers.GRU, {"reset_after": False}),
    (layers.LSTM, {"use_bias": False}),
    (layers.PReLU, {"shared_axes": [1, 2]}),
]


@pytest.mark.parametrize(
    ("kind", "options"),
    [(kind, {}) for kind in KERAS] + OPTIONS,
    ids=lambda v: v.__name__ if isinstance(v, type) else "".join(v),
)
def test_sizes_in_configs_are_cut(kind, options):
    model = model_of(kind, **options)
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    small = plan.apply(model)
    layer = small.get_layer("layer")
    if kind is not layers.Normalization:
        # It stays whole.
        assert WIDTH not in sizes(layer.get_config())
    rng = np.random.default_rng(0)
    shape = [n or 2 for n in model.inputs[0].shape]
    x = rng.normal(size=shape).astype("float32")
    (first,), (second,) = run(plan.mask(model), x), run(small, x)
    np.testing.assert_allclose(first, second, atol=1e-5)
    # What is random in training has sizes of its own.
    small(x, training=True)


@pytest.mark.parametrize("axis", [1, -1])
def test_bounds_of_a_clip_are_cut(axis):
    inputs = keras.Input((4, 3))
    x = layers.Dense(WIDTH, name="front")(inputs)
    x = ops.moveaxis(x, -1, axis)
    bounds = np.linspace(-1, 1, WIDTH).reshape([-1] + [1] * (axis == 1))
    x = ops.clip(x, bounds, bounds + 0.3)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    assert sum(plan.layers[0].keep) < WIDTH
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    (first,), (second,) = run(plan.mask(model), x), run(plan.apply(model), x)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_masking_by_another_value_than_zero_looks_at_all_channels():
    inputs = keras.Input((4, 3))
    x = layers.Dense(WIDTH, activation="relu", name="front")(inputs)
    x = layers.Masking(0.5)(x)
    model = keras.Model(inputs, layers.Conv1D(2, 1)(x))
    plan = pruning.plan(model, "random", {"channels": 0.5}, round_to=1)
    assert all(plan.layers[0].keep)
