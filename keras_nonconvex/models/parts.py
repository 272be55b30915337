"""What the networks are built of."""

import keras
from keras import initializers
from keras import layers

from keras_nonconvex import checks


def conv(x, filters, kernel, name, strides=1, padding="same"):
    """A convolution without bias."""
    return layers.Conv2D(
        filters,
        kernel,
        strides,
        padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def bn(x, name, scale=1.0):
    """A batch normalization whose scales start at `scale`."""
    # As in the papers' code; network slimming starts the scales at 0.5.
    return layers.BatchNormalization(
        momentum=0.9,
        epsilon=1e-5,
        gamma_initializer=initializers.Constant(scale),
        name=name,
    )(x)


def bn_relu(x, name, scale=1.0):
    """BN - ReLU; the name has "bn" in it."""
    return layers.ReLU(name=name.replace("bn", "relu"))(bn(x, name, scale))


def conv_bn_relu(x, filters, kernel, name, strides=1, scale=1.0):
    """Conv - BN - ReLU; the name has "conv" in it."""
    x = conv(x, filters, kernel, name, strides)
    return bn_relu(x, name.replace("conv", "bn"), scale)


def bn_relu_conv(x, filters, kernel, name, strides=1):
    """BN - ReLU - conv, its scales at 0.5; the name has "conv" in it."""
    x = bn_relu(x, name.replace("conv", "bn"), scale=0.5)
    return conv(x, filters, kernel, name, strides)


def classifier(inputs, x, classes, name):
    """The model that ends in average pool - dense, softmax."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="dense")(x)
    return keras.Model(inputs, x, name=name)


def stages(x, widths, blocks, add_block):
    """Stages of equal blocks; all but the first stage begin with stride 2."""
    for stage, filters in enumerate(widths, 1):
        for i in range(1, blocks + 1):
            strides = 2 if stage > 1 and i == 1 else 1
            x = add_block(x, filters, strides, f"stage{stage}_block{i}")
    return x


def blocks_per_stage(depth, step, others):
    """How many blocks a stage has where the depth is step n + others."""
    blocks = (depth - others) // step if isinstance(depth, int) else 0
    if blocks < 1 or depth != blocks * step + others:
        raise ValueError(
            f"Argument `depth` must be {step} n + {others} with n >= 1. "
            f"Received: depth={depth!r}"
        )
    return blocks


def widened(widths, width):
    """Numbers of filters times the argument `width` of a network."""
    checks.number("width", width, "a number above 0", lambda v: v > 0.0)
    return [max(1, round(n * width)) for n in widths]
