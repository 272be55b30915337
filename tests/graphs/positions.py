"""Blocks that move, pool or pad positions."""

from keras import layers

from graphs.draws import IMAGE
from graphs.draws import SEQUENCE
from graphs.draws import SPATIAL
from graphs.draws import VECTOR
from graphs.draws import VOLUME
from graphs.draws import block
from graphs.draws import coin
from graphs.draws import pick
from graphs.draws import ranked
from graphs.draws import whole
from graphs.draws import window


@block(*SPATIAL)
def pooling(x, rng):
    stem = pick(rng, ["MaxPooling", "AveragePooling"])
    size = min(2, *x.shape[1:-1])
    padding = pick(rng, ["same", "valid"])
    return pooled(x, stem, size, strides=pick(rng, [None, 1]), padding=padding)


def pooled(x, stem, size, **options):
    """TensorFlow pools volumes in float32 alone."""
    if len(x.shape) == VOLUME:
        options["dtype"] = "float32"
    return ranked(stem, x)(size, **options)(x)


@block(
    SEQUENCE, IMAGE
)  # In three dimensions it divides by zero (TensorFlow 2.21).
def adaptive_pooling(x, rng):
    stem = pick(rng, ["AdaptiveMaxPooling", "AdaptiveAveragePooling"])
    return pooled(x, stem, window(x, rng, 4))


@block(*SPATIAL)
def global_pooling(x, rng):
    stem = pick(rng, ["GlobalMaxPooling", "GlobalAveragePooling"])
    return ranked(stem, x)(keepdims=coin(rng))(x)


@block(*SPATIAL)
def zero_padding(x, rng):
    size = tuple((whole(rng, 0, 2), whole(rng, 0, 2)) for _ in x.shape[1:-1])
    size = size[0] if len(size) == 1 else size
    return ranked("ZeroPadding", x)(size)(x)


@block(*SPATIAL)
def cropping(x, rng):
    size = tuple((whole(rng, 0, n > 2), int(n > 3)) for n in x.shape[1:-1])
    size = size[0] if len(size) == 1 else size
    return ranked("Cropping", x)(size)(x)


@block(*SPATIAL)
def sliced(x, rng):
    """Some positions of one axis, or one of them."""
    axis = whole(rng, 1, len(x.shape) - 2)
    n = x.shape[axis]
    part = pick(
        rng,
        [
            slice(n // 2, None),
            slice(None, -(n // 2) or None),
            slice(n // 3, -(n // 3) or None),
            slice(None, None, 2),
            slice(None, None, -1),
            whole(rng, 0, n - 1),
        ],
    )
    return x[(slice(None),) * axis + (part,)]


@block(*SPATIAL)
def upsampling(x, rng):
    options = {}
    if len(x.shape) == IMAGE:
        options["interpolation"] = pick(rng, ["nearest", "bilinear"])
    return ranked("UpSampling", x)(2, **options)(x)


@block(IMAGE)
def resizing(x, rng):
    return layers.Resizing(whole(rng, 3, 7), whole(rng, 3, 7))(x)


@block(IMAGE)
def center_crop(x, rng):
    return layers.CenterCrop(*(max(1, n - 1) for n in x.shape[1:-1]))(x)


@block(VECTOR)
def repeat_vector(x, rng):
    return layers.RepeatVector(whole(rng, 2, 4))(x)
