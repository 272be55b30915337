"""DenseNets."""

import keras
from keras import layers

from keras_nonconvex.models import parts


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
    x = parts.conv(inputs, 24, 3, "conv1")
    for stage in (1, 2, 3):
        if stage > 1:
            between = f"transition{stage - 1}"
            x = parts.bn_relu_conv(x, x.shape[-1], 1, f"{between}_conv")
            x = layers.AveragePooling2D(2, name=f"{between}_pool")(x)
        for i in range(1, 13):
            y = parts.bn_relu_conv(x, 12, 3, f"stage{stage}_conv{i}")
            x = layers.Concatenate(name=f"stage{stage}_concat{i}")([x, y])
    x = parts.bn_relu(x, "bn", scale=0.5)
    return parts.classifier(inputs, x, classes, name)
