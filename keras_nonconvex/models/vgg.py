"""VGG with batch normalization, for small images."""

import keras
from keras import layers

from keras_nonconvex.models import parts


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


def _vgg(depths, width, input_shape, classes, name):
    x = inputs = keras.Input(input_shape, name="image")
    widths = parts.widened((64, 128, 256, 512, 512), width)
    for block, (n, filters) in enumerate(zip(depths, widths, strict=True), 1):
        if block > 1:
            x = layers.MaxPooling2D(name=f"pool{block - 1}")(x)
        for i in range(1, n + 1):
            conv = f"block{block}_conv{i}"
            x = parts.conv_bn_relu(x, filters, 3, conv, scale=0.5)
    return parts.classifier(inputs, x, classes, name)
