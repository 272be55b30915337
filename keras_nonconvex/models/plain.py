"""Plain networks: convolutions, then hidden dense layers."""

import keras
from keras import initializers
from keras import layers

from keras_nonconvex.models import parts


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
        x = parts.conv(x, filters, 5, f"conv{i}", padding="valid")
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1000, kernel_initializer="he_normal", name="dense1")(x)
    x = layers.ReLU(name="relu3")(x)
    x = layers.Dropout(dropout, name="dropout3")(x)
    x = layers.Dense(classes, activation="softmax", name="dense2")(x)
    return keras.Model(inputs, x, name=name)


def alexnet(input_shape=(32, 32, 3), classes=10, dropout=0.5, name="alexnet"):
    """A small AlexNet: 63,674 trainable parameters.

    Convolutions 3x3 with 8, 16, 32, 16, 16 filters, each followed by ReLU,
    maxpool 2 after the first, second and last; average pool to 4 x 4; twice
    dropout - dense 128 - ReLU; dense, softmax. Mitsuno, Miyao, Kurita 2020,
    as in their code.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        dropout: A number in [0, 1), the rate of the dropout layers. Defaults
            to `0.5`.
        name: A string, the name of the model. Defaults to `"alexnet"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    inputs = keras.Input(input_shape, name="image")
    x = _chain(inputs, (8, "pool", 16, "pool", 32, 16, 16, "pool"))
    sides = [max(side // 4, 1) for side in x.shape[1:3]]
    x = layers.AveragePooling2D(sides, name="average")(x)
    x = layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
        x = layers.Dense(128, activation="relu", name=f"dense{i}")(x)
    x = layers.Dense(classes, activation="softmax", name="dense3")(x)
    return keras.Model(inputs, x, name=name)


def vgg_a(input_shape=(32, 32, 3), classes=10, dropout=0.5, name="vgg_a"):
    """A small VGG "A" without normalization: 611,434 trainable parameters.

    Convolutions 3x3 with 16, 32, 64, 64, 128, 128, 128, 128 filters, each
    followed by ReLU, maxpool 2 after the first, the second and then every
    second; average pool; twice dense 128 - ReLU - dropout; dense, softmax.
    Mitsuno, Miyao, Kurita 2020, as in their code.

    Args:
        input_shape: The shape of an image, (height, width, channels).
            Defaults to `(32, 32, 3)`.
        classes: A whole number >= 1, the number of classes. Defaults to `10`.
        dropout: A number in [0, 1), the rate of the dropout layers. Defaults
            to `0.5`.
        name: A string, the name of the model. Defaults to `"vgg_a"`.

    Returns:
        A functional `keras.Model` that gives probabilities.
    """
    inputs = keras.Input(input_shape, name="image")
    widths = (16, "pool", 32, "pool", 64, 64, "pool")
    widths += 2 * (128, 128, "pool")
    # Where nothing normalizes, this keeps the signal through eight layers.
    x = _chain(inputs, widths, initializers.VarianceScaling(2.0, "fan_out"))
    x = layers.GlobalAveragePooling2D(name="average")(x)
    for i in (1, 2):
        x = layers.Dense(128, activation="relu", name=f"dense{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    x = layers.Dense(classes, activation="softmax", name="dense3")(x)
    return keras.Model(inputs, x, name=name)


def _chain(x, widths, initializer="glorot_uniform"):
    """Convolutions of so many filters, and poolings."""
    convs = pools = 0
    for width in widths:
        if width == "pool":
            pools += 1
            x = layers.MaxPooling2D(padding="same", name=f"pool{pools}")(x)
        else:
            convs += 1
            x = layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer=initializer,
                name=f"conv{convs}",
            )(x)
    return x
