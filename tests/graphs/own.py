"""Own layers and subclassed models, which make other layers inside."""

import keras
from keras import layers
from keras import ops

from graphs.draws import ANY
from graphs.draws import SPATIAL
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import inner_inputs
from graphs.draws import like
from graphs.draws import pointwise
from graphs.draws import ranked
from graphs.draws import usual
from graphs.draws import whole
from graphs.draws import width
from graphs.draws import window


class OwnConv(layers.Layer):
    """Convolution, norm, activation."""

    def __init__(self, conv, rng):
        super().__init__()
        self.conv = conv
        self.bn = layers.BatchNormalization()
        self.act = layers.Activation("relu" if coin(rng) else "silu")

    def call(self, x, training=None):
        return self.act(self.bn(self.conv(x), training=training))


@block(*SPATIAL, makes=True)
def own_conv(x, rng):
    size = window(x, rng)
    conv = ranked("Conv", x)(width(rng), size, use_bias=coin(rng))
    return OwnConv(conv, rng)(x)


class OwnShortcut(layers.Layer):
    """An own layer inside of an own layer, with a shortcut around it."""

    def __init__(self, inner, last):
        super().__init__()
        self.parts = [inner, layers.Dropout(0.1)]
        self.last = last

    def call(self, x, training=None):
        y = x
        for part in self.parts:
            y = part(y, training=training)
        return ops.relu(x + self.last(y))


@block(*SPATIAL)
def own_shortcut(x, rng):
    conv = ranked("Conv", x)(width(rng), 1)
    last = ranked("Conv", x)(x.shape[-1], 1, **usual(rng))
    return OwnShortcut(OwnConv(conv, rng), last)(x)


class OwnGate(layers.Layer):
    """Channels are weighted by what they are on average."""

    def __init__(self, reduced, channels):
        super().__init__()
        self.gate = keras.Sequential(
            [
                layers.Dense(reduced, activation="relu"),
                layers.Dense(channels, activation="sigmoid"),
            ]
        )

    def call(self, x):
        positions = tuple(range(1, len(x.shape) - 1))
        means = ops.mean(x, axis=positions)
        shape = (ops.shape(x)[0], *(1 for _ in positions), x.shape[-1])
        return x * ops.reshape(self.gate(means), shape)


@block(*SPATIAL)
def own_gate(x, rng):
    return OwnGate(width(rng), x.shape[-1])(x)


class OwnBranches(layers.Layer):
    """A dict goes in and a dict comes out; two layers have one name."""

    def __init__(self, first, second):
        super().__init__()
        self.branches = {"first": first, "second": second}
        self.join = layers.Concatenate()

    def call(self, given):
        x, y = given["x"], given["y"]
        both = self.join([self.branches["first"](x), y])
        return {"both": both, "other": self.branches["second"](x)}


@block(*ANY, makes=True)
def own_branches(x, rng):
    first = layers.Dense(width(rng), name="branch")
    second = layers.Dense(width(rng), name="branch", **usual(rng))
    outputs = OwnBranches(first, second)({"x": x, "y": like(x, rng)})
    return layers.Concatenate()([outputs["other"], outputs["both"]])


class OwnTwice(layers.Layer):
    """One layer that is called twice, and the second call on the first."""

    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def call(self, x):
        return self.dense(ops.tanh(self.dense(x))) - 0.5 * x


@block(*ANY)
def own_twice(x, rng):
    layer = OwnTwice(layers.Dense(x.shape[-1]))
    return layer(layer(x)) if coin(rng) else layer(x)


class Net(keras.Model):
    """A subclassed model."""

    def __init__(self, first, last):
        super().__init__()
        self.first = first
        self.last = last

    def call(self, x, training=None):
        return self.last(ops.relu(self.first(x, training=training)))


@block(*ANY, makes=True)
def subclassed(x, rng):
    filters = whole(rng, 2, 8)
    body = keras.Sequential(
        [layers.Dense(filters), layers.BatchNormalization()]
    )
    return Net(body, layers.Dense(width(rng)))(x)


class Shifted(keras.Model):
    """A functional model whose own `call` does more than its graph."""

    def call(self, x, training=None, mask=None):
        return 0.5 * super().call(ops.tanh(x), training=training)


@block(*ANY, makes=True)
def functional_with_call(x, rng):
    inputs = inner_inputs(x)
    y = pointwise(like(inputs, rng), rng, width(rng))
    return Shifted(inputs, y)(x)
