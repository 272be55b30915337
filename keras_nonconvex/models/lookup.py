"""The networks by their names."""

import functools

from keras_nonconvex.models.densenet import densenet40
from keras_nonconvex.models.mobilenet import mobilenet_v1
from keras_nonconvex.models.plain import alexnet
from keras_nonconvex.models.plain import cnn4
from keras_nonconvex.models.plain import lenet5
from keras_nonconvex.models.plain import vgg_a
from keras_nonconvex.models.preactivation import resnet_v2
from keras_nonconvex.models.preactivation import wide_resnet
from keras_nonconvex.models.residual import resnet
from keras_nonconvex.models.residual import resnet18
from keras_nonconvex.models.vgg import vgg11
from keras_nonconvex.models.vgg import vgg16
from keras_nonconvex.models.vgg import vgg19

NETWORKS = {
    "lenet5": lenet5,
    "cnn4": cnn4,
    "alexnet": alexnet,
    "vgg_a": vgg_a,
    "vgg11": vgg11,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "resnet18_thin": functools.partial(
        resnet18, width=0.125, stem="large", name="resnet18_thin"
    ),
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
        name: A string, a key of `NETWORKS`: `"lenet5"`, `"cnn4"`, `"alexnet"`,
            `"vgg_a"`, `"vgg11"`, `"vgg16"`, `"vgg19"`, `"resnet18"`,
            `"resnet18_thin"`, `"resnet20"`, `"resnet56"`, `"resnet110"`,
            `"resnet164"`, `"densenet40"`, `"wrn28_10"`, `"wrn40_1"` or
            `"mobilenet_v1"`.

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
