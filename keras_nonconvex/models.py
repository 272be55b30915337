"""The networks of the papers, as functional Keras models.

Parameter counts are those of trainable parameters, as papers count them;
`knc.summary(model)` and `model.count_params()` add the moving averages of
batch normalisation, two per channel. No weight decay is included: add it with
`attach`. Strided convolutions pad as TensorFlow does ('same'). Every network
takes images and ends in a softmax.

>>> model = knc.models.resnet(20, classes=100)
>>> model = knc.models.get("resnet20")(classes=100)
"""

import functools

import keras
from keras import initializers
from keras import layers
from keras import ops

from keras_nonconvex import checks


def lenet5(input_shape=(28, 28, 1), classes=10, name="lenet5"):
    """LeNet-5 in its Caffe form: 431,080 trainable parameters.

    conv 5x5 'valid' 20 - ReLU - maxpool 2 - conv 5x5 'valid' 50 - ReLU -
    maxpool 2 - dense 500 - ReLU - dense, softmax. Used by Bui, Park, Zhang,
    Qi, Xin 2021.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(28, 28, 1)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        name: A string, the name of the model. Defaults to `"lenet5"`.

    Returns:
        A functional `keras.Model` that gives probabilities.

    Example:
    >>> model = knc.models.lenet5(input_shape=(28, 28, 1), classes=10)
    """
    inputs = keras.Input(input_shape, name="image")
    x = layers.Conv2D(20, 5, activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(name="pool1")(x)
    x = layers.Conv2D(50, 5, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(500, activation="relu", name="dense1")(x)
    x = layers.Dense(classes, activation="softmax", name="dense2")(x)
    return keras.Model(inputs, x, name=name)


def cnn4(input_shape=(28, 28, 1), classes=10, dropout=0.5, name="cnn4"):
    """Four-layer CNN: 1,087,010 trainable parameters.

    Twice conv 5x5 'valid' - maxpool 2 - ReLU - dropout, with 32 and 64 filters
    and no bias; dense 1000 - ReLU - dropout - dense, softmax. Used by Bui,
    Park, Zhang, Qi, Xin 2021.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(28, 28, 1)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        dropout: A number in [0, 1), the rate of the dropout layers. Defaults
            to `0.5`.
        name: A string, the name of the model. Defaults to `"cnn4"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    x = inputs = keras.Input(input_shape, name="image")
    for i, filters in enumerate((32, 64), 1):
        x = _conv(x, filters, 5, f"conv{i}", padding="valid")
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1000, kernel_initializer="he_normal", name="dense1")(x)
    x = layers.ReLU(name="relu3")(x)
    x = layers.Dropout(dropout, name="dropout3")(x)
    x = layers.Dense(classes, activation="softmax", name="dense2")(x)
    return keras.Model(inputs, x, name=name)


def vgg11(input_shape=(32, 32, 3), classes=10, width=1.0, name="vgg11"):
    """VGG-11 with batch normalisation: 9,228,362 trainable parameters.

    The same as `vgg19`, with 1, 1, 2, 2, 2 convolutions. Simonyan, Zisserman
    2015.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        width: A number above 0, the factor on the filters of all
            convolutions. Defaults to `1.0`.
        name: A string, the name of the model. Defaults to `"vgg11"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    return _vgg((1, 1, 2, 2, 2), width, input_shape, classes, name)


def vgg16(input_shape=(32, 32, 3), classes=10, width=1.0, name="vgg16"):
    """VGG-16 with batch normalisation: 14,724,042 trainable parameters.

    The same as `vgg19`, with 2, 2, 3, 3, 3 convolutions. Simonyan, Zisserman
    2015.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        width: A number above 0, the factor on the filters of all
            convolutions. Defaults to `1.0`.
        name: A string, the name of the model. Defaults to `"vgg16"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    return _vgg((2, 2, 3, 3, 3), width, input_shape, classes, name)


def vgg19(input_shape=(32, 32, 3), classes=10, width=1.0, name="vgg19"):
    """VGG-19 with batch normalisation: 20,035,018 trainable parameters.

    Five blocks of 2, 2, 4, 4, 4 times conv 3x3 (no bias) - BN - ReLU with 64,
    128, 256, 512, 512 filters, maxpool 2 between the blocks; average pool -
    dense, softmax. BN scales start at 0.5. Simonyan, Zisserman 2015, in the
    form of Liu et al. 2017 (network slimming).

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        width: A number above 0, the factor on the filters of all
            convolutions. Defaults to `1.0`.
        name: A string, the name of the model. Defaults to `"vgg19"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    return _vgg((2, 2, 4, 4, 4), width, input_shape, classes, name)


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
    n = _blocks_per_stage(depth, 6, 2)
    name = name or f"resnet{depth}"
    return _resnet((16, 32, 64), n, shortcut, input_shape, classes, name)


def resnet18(input_shape=(32, 32, 3), classes=10, width=1.0, name="resnet18"):
    """ResNet-18 for CIFAR: 11,173,962 trainable parameters.

    conv 3x3 - BN - ReLU, then four stages of two basic blocks with 64, 128,
    256, 512 filters, conv 1x1 - BN as shortcut where the width doubles;
    average pool - dense, softmax. He et al. 2016, with a stem for small images.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        width: A number above 0, the factor on all widths. Defaults to `1.0`.
        name: A string, the name of the model. Defaults to `"resnet18"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    checks.number("width", width, "a number above 0", lambda v: v > 0.0)
    widths = [max(1, round(n * width)) for n in (64, 128, 256, 512)]
    return _resnet(widths, 2, "conv", input_shape, classes, name)


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
    n = _blocks_per_stage(depth, 9, 2)
    inputs = keras.Input(input_shape, name="image")
    x = _conv(inputs, 16, 3, "conv1")
    x = _stages(x, (16, 32, 64), n, _bottleneck)
    x = _bn_relu(x, "bn", scale=0.5)
    return _classifier(inputs, x, classes, name or f"resnet{depth}")


def densenet40(input_shape=(32, 32, 3), classes=10, name="densenet40"):
    """DenseNet-40 of growth 12: 1,059,298 trainable parameters.

    conv 3x3 24, then three stages of 12 times BN - ReLU - conv 3x3 12, each
    joined to its input, and BN - ReLU - conv 1x1 of unchanged width - average
    pool 2 between the stages; BN - ReLU - average pool - dense, softmax. BN
    scales start at 0.5. Huang et al. 2017, in the form of Liu et al. 2017.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        name: A string, the name of the model. Defaults to `"densenet40"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _conv(inputs, 24, 3, "conv1")
    for stage in (1, 2, 3):
        if stage > 1:
            between = f"transition{stage - 1}"
            x = _bn_relu_conv(x, x.shape[-1], 1, f"{between}_conv")
            x = layers.AveragePooling2D(2, name=f"{between}_pool")(x)
        for i in range(1, 13):
            y = _bn_relu_conv(x, 12, 3, f"stage{stage}_conv{i}")
            x = layers.Concatenate(name=f"stage{stage}_concat{i}")([x, y])
    x = _bn_relu(x, "bn", scale=0.5)
    return _classifier(inputs, x, classes, name)


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
    n = _blocks_per_stage(depth, 6, 4)
    block = functools.partial(_wide_block, dropout=dropout)
    inputs = keras.Input(input_shape, name="image")
    x = _conv(inputs, 16, 3, "conv1")
    x = _stages(x, (16 * width, 32 * width, 64 * width), n, block)
    x = _bn_relu(x, "bn")
    return _classifier(inputs, x, classes, name or f"wrn{depth}_{width}")


def mobilenet_v1(
    input_shape=(32, 32, 3), classes=10, alpha=1.0, name="mobilenet_v1"
):
    """MobileNet V1: 3,217,226 trainable parameters.

    conv 3x3 32, then 13 pairs of depthwise conv 3x3 and conv 1x1 with 64 to
    1024 filters, each followed by BN - ReLU; average pool - dense, softmax.
    The first convolution has stride 2, or 1 if both sides of the image have at
    most 32 pixels. Howard et al. 2017.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        alpha: A number above 0, the factor on all widths. Defaults to `1.0`.
        name: A string, the name of the model. Defaults to `"mobilenet_v1"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    small = all(size and size <= 32 for size in input_shape[:2])
    inputs = keras.Input(input_shape, name="image")
    x = _conv_bn_relu(inputs, int(32 * alpha), 3, "conv1", 1 if small else 2)
    widths = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
    for i, filters in enumerate(widths, 1):
        x = layers.DepthwiseConv2D(
            3,
            2 if i in (2, 4, 6, 12) else 1,
            padding="same",
            use_bias=False,
            # Keras counts all channels as the fan-in of a depthwise kernel.
            depthwise_initializer=initializers.VarianceScaling(2.0, "fan_out"),
            name=f"block{i}_depthwise_conv",
        )(x)
        x = _bn_relu(x, f"block{i}_depthwise_bn")
        x = _conv_bn_relu(x, int(filters * alpha), 1, f"block{i}_conv")
    return _classifier(inputs, x, classes, name)


NETWORKS = {
    "lenet5": lenet5,
    "cnn4": cnn4,
    "vgg11": vgg11,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "resnet20": functools.partial(resnet, 20),
    "resnet56": functools.partial(resnet, 56),
    "resnet110": functools.partial(resnet, 110),
    "resnet164": functools.partial(resnet_v2, 164),
    "densenet40": densenet40,
    "wrn28_10": functools.partial(wide_resnet, 28, 10),
    "wrn40_1": functools.partial(wide_resnet, 40, 1),
    "mobilenet_v1": mobilenet_v1,
}


def get(name):
    """The function that builds a network, by the network's name.

    Args:
        name: A string, a key of `NETWORKS`: `"lenet5"`, `"cnn4"`, `"vgg11"`,
            `"vgg16"`, `"vgg19"`, `"resnet18"`, `"resnet20"`, `"resnet56"`,
            `"resnet110"`, `"resnet164"`, `"densenet40"`, `"wrn28_10"`,
            `"wrn40_1"` or `"mobilenet_v1"`.

    Returns:
        A function that takes `input_shape` and `classes` and returns a model.

    Example:
    >>> model = knc.models.get("resnet20")(input_shape=(32, 32, 3), classes=10)
    """
    if name not in NETWORKS:
        raise ValueError(
            f"The networks are {', '.join(NETWORKS)}; the path of a .keras "
            f"file names a model of your own. Received: model={name!r}"
        )
    return NETWORKS[name]


def _conv(x, filters, kernel, name, strides=1, padding="same"):
    return layers.Conv2D(
        filters,
        kernel,
        strides,
        padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _bn(x, name, scale=1.0):
    # As in the papers' code; network slimming starts the scales at 0.5.
    return layers.BatchNormalization(
        momentum=0.9,
        epsilon=1e-5,
        gamma_initializer=initializers.Constant(scale),
        name=name,
    )(x)


def _bn_relu(x, name, scale=1.0):
    return layers.ReLU(name=name.replace("bn", "relu"))(_bn(x, name, scale))


def _conv_bn_relu(x, filters, kernel, name, strides=1, scale=1.0):
    x = _conv(x, filters, kernel, name, strides)
    return _bn_relu(x, name.replace("conv", "bn"), scale)


def _bn_relu_conv(x, filters, kernel, name, strides=1):
    x = _bn_relu(x, name.replace("conv", "bn"), scale=0.5)
    return _conv(x, filters, kernel, name, strides)


def _classifier(inputs, x, classes, name):
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, activation="softmax", name="dense")(x)
    return keras.Model(inputs, x, name=name)


def _vgg(depths, width, input_shape, classes, name):
    checks.number("width", width, "a number above 0", lambda v: v > 0.0)
    x = inputs = keras.Input(input_shape, name="image")
    widths = [max(1, round(n * width)) for n in (64, 128, 256, 512, 512)]
    for block, (n, filters) in enumerate(zip(depths, widths, strict=True), 1):
        if block > 1:
            x = layers.MaxPooling2D(name=f"pool{block - 1}")(x)
        for i in range(1, n + 1):
            conv = f"block{block}_conv{i}"
            x = _conv_bn_relu(x, filters, 3, conv, scale=0.5)
    return _classifier(inputs, x, classes, name)


def _resnet(widths, blocks, shortcut, input_shape, classes, name):
    block = functools.partial(_basic_block, shortcut=_SHORTCUTS[shortcut])
    inputs = keras.Input(input_shape, name="image")
    x = _conv_bn_relu(inputs, widths[0], 3, "conv1")
    x = _stages(x, widths, blocks, block)
    return _classifier(inputs, x, classes, name)


def _blocks_per_stage(depth, step, others):
    blocks = (depth - others) // step if isinstance(depth, int) else 0
    if blocks < 1 or depth != blocks * step + others:
        raise ValueError(
            f"Argument `depth` must be {step} n + {others} with n >= 1. "
            f"Received: depth={depth!r}"
        )
    return blocks


def _stages(x, widths, blocks, add_block):
    for stage, filters in enumerate(widths, 1):
        for i in range(1, blocks + 1):
            strides = 2 if stage > 1 and i == 1 else 1
            x = add_block(x, filters, strides, f"stage{stage}_block{i}")
    return x


def _basic_block(x, filters, strides, name, shortcut):
    y = _conv_bn_relu(x, filters, 3, f"{name}_conv1", strides)
    y = _bn(_conv(y, filters, 3, f"{name}_conv2"), f"{name}_bn2")
    if x.shape[-1] != filters:
        x = shortcut(x, filters, strides, f"{name}_shortcut")
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _pad_shortcut(x, filters, strides, name):
    x = layers.AveragePooling2D(1, strides, name=f"{name}_pool")(x)
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, filters - x.shape[-1])))


def _conv_shortcut(x, filters, strides, name):
    return _bn(_conv(x, filters, 1, f"{name}_conv", strides), f"{name}_bn")


_SHORTCUTS = {"pad": _pad_shortcut, "conv": _conv_shortcut}


def _bottleneck(x, filters, strides, name):
    y = _bn_relu_conv(x, filters, 1, f"{name}_conv1")
    y = _bn_relu_conv(y, filters, 3, f"{name}_conv2", strides)
    y = _bn_relu_conv(y, 4 * filters, 1, f"{name}_conv3")
    if x.shape[-1] != y.shape[-1]:
        x = _conv(x, y.shape[-1], 1, f"{name}_shortcut_conv", strides)
    return layers.Add(name=f"{name}_add")([x, y])


def _wide_block(x, filters, strides, name, dropout):
    y = _bn_relu(x, f"{name}_bn1")
    if x.shape[-1] != filters:
        x = _conv(y, filters, 1, f"{name}_shortcut_conv", strides)
    y = _conv(y, filters, 3, f"{name}_conv1")
    y = _bn_relu(y, f"{name}_bn2")
    y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    y = _conv(y, filters, 3, f"{name}_conv2", strides)
    return layers.Add(name=f"{name}_add")([x, y])
