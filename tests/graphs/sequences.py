"""Blocks of sequences."""

import keras
from keras import layers

from graphs.draws import SEQUENCE
from graphs.draws import SPATIAL
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import like
from graphs.draws import pick
from graphs.draws import pointwise
from graphs.draws import usual
from graphs.draws import whole
from graphs.draws import width


@block(SEQUENCE)
def self_attention(x, rng):
    return attention(rng, x, x)


@block(SEQUENCE)
def cross_attention(x, rng):
    y = pointwise(x, rng, width(rng))
    return attention(rng, x, layers.MaxPooling1D(2, padding="same")(y))


def attention(rng, query, value):
    layer = layers.MultiHeadAttention(
        whole(rng, 2, 4),
        key_dim=2,
        value_dim=pick(rng, [None, 3]),
        output_shape=pick(rng, [None, width(rng)]),
        use_bias=coin(rng),
    )
    if coin(rng):
        return layer(query, value)
    return layer(query, key=value, value=value)


def recurrent(rng):
    """A recurrent layer; without a sequence for an output in one of two."""
    layer = pick(rng, [layers.SimpleRNN, layers.LSTM, layers.GRU])
    options = {"return_sequences": coin(rng), "use_bias": coin(rng, 0.8)}
    if layer is layers.GRU:
        options["reset_after"] = coin(rng)
    if coin(rng, 0.3):
        options["activation"] = pick(rng, ["relu", "sigmoid"])
    return layer(whole(rng, 2, 5), **options)


@block(SEQUENCE, makes=True)
def rnn(x, rng):
    return recurrent(rng)(x)


@block(SEQUENCE, makes=True)
def bidirectional(x, rng):
    mode = pick(rng, ["concat", "sum", "mul", "ave"])
    return layers.Bidirectional(recurrent(rng), merge_mode=mode)(x)


@block(*SPATIAL, makes=True)
def time_distributed(x, rng):
    options = [layers.Dense(width(rng), **usual(rng))]
    if len(x.shape) > SEQUENCE:
        inner = getattr(layers, f"Conv{len(x.shape) - 3}D")
        options.append(inner(width(rng), 2, padding="same", **usual(rng)))
    return layers.TimeDistributed(pick(rng, options))(x)


@block(*SPATIAL, makes=True)
def model_over_time(x, rng):
    inputs = keras.Input(x.shape[2:])
    outputs = layers.BatchNormalization()(like(inputs, rng))
    if coin(rng):
        outputs = layers.Add()([outputs, like(outputs, rng)])
    outputs = pointwise(outputs, rng, width(rng))
    return layers.TimeDistributed(keras.Model(inputs, outputs))(x)
