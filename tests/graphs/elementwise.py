"""Blocks that work value by value."""

from keras import layers

from graphs.draws import ACTIVATIONS
from graphs.draws import ANY
from graphs.draws import SPATIAL
from graphs.draws import VECTOR
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import pick
from graphs.draws import ranked


@block(*ANY)
def any_activation(x, rng):
    return layers.Activation(pick(rng, ACTIVATIONS))(x)


@block(*ANY)
def activation_layer(x, rng):
    return pick(
        rng,
        [
            layers.ReLU(max_value=4.0, negative_slope=0.1),
            layers.ReLU(threshold=0.5),
            layers.LeakyReLU(),
            layers.ELU(),
        ],
    )(x)


@block(*ANY)
def exponential(x, rng):
    """exp(0) is 1; the bound keeps it from towers of exponentials."""
    return layers.Activation("exponential")(layers.Activation("tanh")(x))


@block(*ANY)
def prelu(x, rng):
    axes = [a for a in range(1, len(x.shape)) if coin(rng)]
    return layers.PReLU(shared_axes=axes or None)(x)


@block(*ANY)
def softmax(x, rng):
    if coin(rng):
        return layers.Activation(pick(rng, ["softmax", "log_softmax"]))(x)
    return layers.Softmax()(x)


@block(*SPATIAL)
def softmax_over_positions(x, rng):
    axes = list(range(1, len(x.shape) - 1))
    return layers.Softmax(axis=pick(rng, [axes[0], axes]))(x)


@block(*ANY)
def dropout(x, rng):
    alike = (None, *(n if coin(rng) else 1 for n in x.shape[1:]))
    options = [
        layers.Dropout(0.3),
        layers.Dropout(0.3, noise_shape=alike),
        layers.GaussianDropout(0.3),
        layers.GaussianNoise(0.3),
        layers.AlphaDropout(0.3),
        layers.ActivityRegularization(l2=0.1),
        layers.Identity(),
    ]
    if len(x.shape) > VECTOR:
        options.append(ranked("SpatialDropout", x)(0.3))
    return pick(rng, options)(x)


@block(*ANY)
def rescaling(x, rng):
    return layers.Rescaling(0.5, offset=pick(rng, [0.0, 0.3]))(x)
