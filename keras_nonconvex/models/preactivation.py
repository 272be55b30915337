"""ResNets whose blocks normalize first."""

import functools

import keras
from keras import layers

from keras_nonconvex.models import parts


def resnet_v2(depth, input_shape=(32, 32, 3), classes=10, name=None):
    """Pre-activation ResNet of depth 9 n + 2.

    conv 3x3, then three stages of n bottlenecks, thrice BN - ReLU - conv: 1x1
    and 3x3 with 16, 32, 64 filters, 1x1 with four times as many; the shortcut
    is a conv 1x1 where the width changes. BN - ReLU - average pool - dense,
    softmax. BN scales start at 0.5. Depth 164 has 1,703,258 trainable
    parameters. He et al. 2016 (identity mappings), in the form of Liu et al.
    2017 (network slimming).

    Args:
        depth: A whole number, 9 n + 2 with n >= 1: the depth as the
            paper counts it.
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        name: A string, the name of the model. None means
            `"resnet{depth}"`. Defaults to `None`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    n = parts.blocks_per_stage(depth, 9, 2)
    inputs = keras.Input(input_shape, name="image")
    x = parts.conv(inputs, 16, 3, "conv1")
    x = parts.stages(x, (16, 32, 64), n, _bottleneck)
    x = parts.bn_relu(x, "bn", scale=0.5)
    return parts.classifier(inputs, x, classes, name or f"resnet{depth}")


def wide_resnet(
    depth, width, input_shape=(32, 32, 3), classes=10, dropout=0.3, name=None
):
    """Wide ResNet of depth 6 n + 4.

    conv 3x3 16, then three stages of n blocks BN - ReLU - conv 3x3 - BN - ReLU
    - dropout - conv 3x3 with 16, 32, 64 times `width` filters, strides on the
    second convolution; the shortcut is a conv 1x1 of the activated input where
    the width changes. BN - ReLU - average pool - dense, softmax. Depth 28,
    width 10 has 36,479,194 trainable parameters. Zagoruyko, Komodakis 2016. The
    "ResNet-40" of Bui, Park, Zhang, Qi, Xin 2021 is depth 40, width 1: 563,930
    trainable parameters.

    Args:
        depth: A whole number, 6 n + 4 with n >= 1: the depth as the
            paper counts it.
        width: A whole number >= 1, the factor on the filters of a ResNet.
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        dropout: A number in [0, 1), the rate of the dropout layers. Defaults
            to `0.3`.
        name: A string, the name of the model. None means
            `"wrn{depth}_{width}"`. Defaults to `None`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    n = parts.blocks_per_stage(depth, 6, 4)
    block = functools.partial(_wide_block, dropout=dropout)
    inputs = keras.Input(input_shape, name="image")
    x = parts.conv(inputs, 16, 3, "conv1")
    x = parts.stages(x, (16 * width, 32 * width, 64 * width), n, block)
    x = parts.bn_relu(x, "bn")
    return parts.classifier(inputs, x, classes, name or f"wrn{depth}_{width}")


def _bottleneck(x, filters, strides, name):
    y = parts.bn_relu_conv(x, filters, 1, f"{name}_conv1")
    y = parts.bn_relu_conv(y, filters, 3, f"{name}_conv2", strides)
    y = parts.bn_relu_conv(y, 4 * filters, 1, f"{name}_conv3")
    if x.shape[-1] != y.shape[-1]:
        x = parts.conv(x, y.shape[-1], 1, f"{name}_shortcut_conv", strides)
    return layers.Add(name=f"{name}_add")([x, y])


def _wide_block(x, filters, strides, name, dropout):
    y = parts.bn_relu(x, f"{name}_bn1")
    if x.shape[-1] != filters:
        x = parts.conv(y, filters, 1, f"{name}_shortcut_conv", strides)
    y = parts.conv(y, filters, 3, f"{name}_conv1")
    y = parts.bn_relu(y, f"{name}_bn2")
    y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    y = parts.conv(y, filters, 3, f"{name}_conv2", strides)
    return layers.Add(name=f"{name}_add")([x, y])
