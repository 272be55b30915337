"""What the blocks of random graphs are drawn with."""

import dataclasses

import keras
from keras import layers
from keras import ops

# Ranks of the tensors that a kind takes, with the batch axis.
VECTOR, SEQUENCE, IMAGE, VOLUME = 2, 3, 4, 5
ANY = (VECTOR, SEQUENCE, IMAGE, VOLUME)
SPATIAL = (SEQUENCE, IMAGE, VOLUME)

KINDS = {}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of block: the function, the ranks it takes, if it makes anew."""

    build: callable
    ranks: tuple
    makes: bool


def block(*ranks, makes=False):
    """Decorator: a kind of block for tensors of these ranks.

    Args:
        ranks: See above.
        makes: Whether it makes new channels; such kinds are drawn more often.
    """

    def register(function):
        KINDS[function.__name__] = Kind(function, ranks, makes)
        return function

    return register


def coin(rng, p=0.5):
    return bool(rng.random() < p)


def whole(rng, low, high):
    """An integer from low to high, both included."""
    return int(rng.integers(low, high + 1))


def pick(rng, options):
    return options[whole(rng, 0, len(options) - 1)]


def width(rng):
    return whole(rng, 2, 8)


def window(x, rng, most=3):
    """A size per axis of positions, not larger than the tensor."""
    return tuple(whole(rng, 1, min(most, n)) for n in x.shape[1:-1])


def divisors(n):
    """Those above 1, or 1 alone."""
    return [d for d in range(2, n + 1) if n % d == 0] or [1]


def ranked(stem, x):
    """The layer type of this name for the tensor's positions."""
    return getattr(layers, f"{stem}{len(x.shape) - 2}D")


ACTIVATIONS = (
    "linear relu relu6 elu selu celu gelu silu mish tanh sigmoid softplus "
    "softsign hard_sigmoid hard_silu hard_tanh hard_shrink soft_shrink "
    "tanh_shrink leaky_relu log_sigmoid squareplus sparse_plus sparse_sigmoid"
).split()


@keras.saving.register_keras_serializable("graphs")
def wave(x):
    """An activation of one's own."""
    return x + ops.sin(x)


def activation(rng):
    """None is as frequent as all the others."""
    others = [ops.relu, ops.silu, wave, layers.LeakyReLU(), layers.ReLU(4.0)]
    if coin(rng):
        return None
    return pick(rng, others if coin(rng, 0.2) else ACTIVATIONS)


def usual(rng):
    """What layers with a kernel have in common."""
    return {"activation": activation(rng), "use_bias": coin(rng, 0.7)}


def pointwise(x, rng, filters, **options):
    """New channels at the same positions."""
    if len(x.shape) == VECTOR or coin(rng, 0.3):
        return layers.Dense(filters, **{**usual(rng), **options})(x)
    return ranked("Conv", x)(filters, 1, **{**usual(rng), **options})(x)


def like(x, rng, **options):
    """Other values of the same shape, from new channels."""
    if len(x.shape) == VECTOR or coin(rng):
        return pointwise(x, rng, x.shape[-1], **options)
    options = {**usual(rng), **options}
    size = window(x, rng)
    return ranked("Conv", x)(x.shape[-1], size, padding="same", **options)(x)


def inner_inputs(x):
    return keras.Input(x.shape[1:])
