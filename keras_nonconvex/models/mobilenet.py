"""MobileNets."""

import keras
from keras import initializers
from keras import layers

from keras_nonconvex.models import parts


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
    x = parts.conv_bn_relu(
        inputs, int(32 * alpha), 3, "conv1", 1 if small else 2
    )
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
        x = parts.bn_relu(x, f"block{i}_depthwise_bn")
        x = parts.conv_bn_relu(x, int(filters * alpha), 1, f"block{i}_conv")
    return parts.classifier(inputs, x, classes, name)
