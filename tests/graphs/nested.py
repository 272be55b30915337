"""Layers and models that are called more than once, and own layers."""

import keras
from keras import layers
from keras import ops

from graphs.draws import ANY
from graphs.draws import SPATIAL
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import divisors
from graphs.draws import inner_inputs
from graphs.draws import like
from graphs.draws import pick
from graphs.draws import pointwise
from graphs.draws import ranked
from graphs.draws import usual
from graphs.draws import whole
from graphs.growing import grow
from graphs.growing import sequential
from graphs.growing import sources


@block(*SPATIAL)
def shared(x, rng):
    """A layer called twice, on itself or on two tensors."""
    filters = x.shape[-1]
    groups = pick(rng, [1, 1, *divisors(filters)])
    layer = ranked("Conv", x)(filters, 1, groups=groups, **usual(rng))
    if coin(rng):
        return layer(layer(x))
    return layers.Concatenate()([layer(x), layer(like(x, rng))])


def called(model, x, rng):
    """A nested model on this tensor, its further inputs on new ones."""
    others = [keras.Input(t.shape[1:]) for t in model.inputs[1:]]
    return model([x, *others]) if others else model(x)


@block(*ANY, makes=True)
def nested_functional(x, rng):
    inputs = inner_inputs(x)
    outputs = grow(inputs, rng, whole(rng, 1, 2))[-1]
    model = keras.Model(sources(inputs, outputs), outputs)
    y = called(model, x, rng)
    if coin(rng) and len(model.inputs) == 1:
        z = model(like(x, rng))
        return layers.Concatenate()([y, z])
    return y


@block(*ANY, makes=True)
def nested_of_two_outputs(x, rng):
    inputs = inner_inputs(x)
    y = like(inputs, rng)
    outputs = [like(y, rng), pointwise(y, rng, x.shape[-1])]
    y, z = keras.Model(inputs, outputs)(x)
    return layers.Add()([y, z])


@block(*ANY)
def nested_by_name(x, rng):
    """Called with a dict in another order than its inputs, or with more."""
    z, a = (keras.Input(x.shape[1:], name=name) for name in "za")
    outputs = layers.Subtract()([like(z, rng), a])
    given = {"z": like(x, rng), "a": x}
    if coin(rng):
        given["more"] = like(x, rng)
    return keras.Model([z, a], outputs)(given)


@block(*ANY, makes=True)
def nested_sequential(x, rng):
    model = sequential(x.shape[1:], rng, whole(rng, 1, 3))
    return model(x)


@block(*ANY)
def another_input(x, rng):
    other = keras.Input(x.shape[1:])
    return layers.Add()([x, like(other, rng)])


@keras.saving.register_keras_serializable("graphs")
class Odd(layers.Layer):
    """A layer that no rule speaks of: each channel sees its neighbour."""

    def call(self, x):
        return x + 0.5 * ops.roll(x, 1, axis=-1)

    def compute_output_shape(self, shape):
        return shape


@block(*ANY)
def unknown(x, rng):
    return Odd()(x)
