"""ResNets of basic blocks."""

import functools

import keras
from keras import layers
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex.models import parts


def resnet(
    depth, input_shape=(32, 32, 3), classes=10, shortcut="pad", name=None
):
    """ResNet for CIFAR, of depth 20, 56, 110 and so on: 6 n + 2.

    conv 3x3 - BN - ReLU, then three stages of n basic blocks with 16, 32, 64
    filters; average pool - dense, softmax. 269,722, 853,018 and 1,727,962
    trainable parameters for 10 classes. He et al. 2016.

    Args:
        depth: A whole number, 6 n + 2 with n >= 1: the depth as the
            paper counts it.
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        shortcut: What the shortcut does where the width doubles. `"pad"`
            (option A of the paper) takes every second pixel and adds channels
            of zeros, without parameters; `"conv"` (option B) is conv 1x1 -
            BN. Defaults to `"pad"`.
        name: A string, the name of the model. None means
            `"resnet{depth}"`. Defaults to `None`.

    Returns:
        A functional `keras.Model` that gives probabilities.

    Example:
    >>> model = knc.models.resnet(56, classes=100)
    """
    checks.choice("shortcut", shortcut, _SHORTCUTS)
    n = parts.blocks_per_stage(depth, 6, 2)
    name = name or f"resnet{depth}"
    return _resnet((16, 32, 64), n, shortcut, input_shape, classes, name)


def resnet18(
    input_shape=(32, 32, 3),
    classes=10,
    width=1.0,
    stem="small",
    name="resnet18",
):
    """ResNet-18: 11,173,962 trainable parameters for CIFAR.

    A stem, then four stages of two basic blocks with 64, 128, 256, 512
    filters, conv 1x1 - BN as shortcut where the width doubles; average pool -
    dense, softmax. He et al. 2016. `"resnet18_thin"` is the network of
    Mitsuno, Miyao, Kurita 2020: an eighth of the width and the stem for large
    images have 177,362 trainable parameters.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        width: A number above 0, the factor on the filters of all
            convolutions. Defaults to `1.0`.
        stem: What comes before the stages. `"small"`, for small images, is
            conv 3x3 - BN - ReLU; `"large"` is conv 7x7 with stride 2 - BN -
            ReLU - maxpool 3 with stride 2. Defaults to `"small"`.
        name: A string, the name of the model. Defaults to `"resnet18"`.

    Returns:
        A functional `keras.Model` that gives probabilities.

    Example:
    >>> model = knc.models.resnet18(width=0.25)
    """
    widths = parts.widened((64, 128, 256, 512), width)
    return _resnet(widths, 2, "conv", input_shape, classes, name, stem)


def _resnet(widths, blocks, shortcut, input_shape, classes, name, stem="small"):
    checks.choice("stem", stem, _STEMS)
    block = functools.partial(_basic_block, shortcut=_SHORTCUTS[shortcut])
    inputs = keras.Input(input_shape, name="image")
    x = _STEMS[stem](inputs, widths[0])
    x = parts.stages(x, widths, blocks, block)
    return parts.classifier(inputs, x, classes, name)


def _small_stem(x, filters):
    return parts.conv_bn_relu(x, filters, 3, "conv1")


def _large_stem(x, filters):
    x = parts.conv_bn_relu(x, filters, 7, "conv1", strides=2)
    return layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)


_STEMS = {"small": _small_stem, "large": _large_stem}


def _basic_block(x, filters, strides, name, shortcut):
    y = parts.conv_bn_relu(x, filters, 3, f"{name}_conv1", strides)
    y = parts.bn(parts.conv(y, filters, 3, f"{name}_conv2"), f"{name}_bn2")
    if x.shape[-1] != filters:
        x = shortcut(x, filters, strides, f"{name}_shortcut")
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _pad_shortcut(x, filters, strides, name):
    x = layers.AveragePooling2D(1, strides, name=f"{name}_pool")(x)
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, filters - x.shape[-1])))


def _conv_shortcut(x, filters, strides, name):
    return parts.bn(
        parts.conv(x, filters, 1, f"{name}_conv", strides), f"{name}_bn"
    )


_SHORTCUTS = {"pad": _pad_shortcut, "conv": _conv_shortcut}
