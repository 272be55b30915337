"""The networks of the papers, as functional Keras models.

Parameter counts are those of trainable parameters, as papers count them;
`knc.summary(model)` and `model.count_params()` add the moving averages of
batch normalisation, two per channel. No weight decay is included: add it with
`attach`. Strided convolutions pad as TensorFlow does ('same'). Every network
takes images and ends in a softmax.

>>> model = knc.models.resnet(20, classes=100)
>>> model = knc.models.get("resnet20")(classes=100)
"""

from keras_nonconvex.models.densenet import densenet40
from keras_nonconvex.models.lookup import NETWORKS
from keras_nonconvex.models.lookup import get
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

__all__ = [
    "NETWORKS",
    "alexnet",
    "cnn4",
    "densenet40",
    "get",
    "lenet5",
    "mobilenet_v1",
    "resnet",
    "resnet18",
    "resnet_v2",
    "vgg11",
    "vgg16",
    "vgg19",
    "vgg_a",
    "wide_resnet",
]
