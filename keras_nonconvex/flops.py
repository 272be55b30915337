"""FLOPs as the code of network slimming counts them.

They are more than 2 x MACs, the FLOPs of `knc.summary`: biases, batch
normalization, ReLU and pooling count, too.
"""

import math

import keras

from keras_nonconvex import graph
from keras_nonconvex import macs
from keras_nonconvex import unfolding
from keras_nonconvex.time_steps import times

_GLOBAL_POOLINGS = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


def slimming_flops(model):
    """The FLOPs of one sample by the counter of the network slimming papers.

    Two for each multiply-add of a kernel; one for each bias that is added;
    two for each entry of a batch normalization, one for each of a ReLU; and
    for each entry that a pooling makes as many as it looks at. (The authors'
    counter leaves out the poolings that their code writes as functions: the
    last one of VGG, .0003 % of VGG-19, and the transitions of DenseNet-40,
    .04 %.)

    Args:
        model: A built `keras.Model` with a fixed input size.

    Returns:
        An integer.

    Reference: Liu et al., Learning Efficient Convolutional Networks through
    Network Slimming, 2017.
    """
    return sum(map(call_flops, graph.calls(unfolding.functional(model))))


def call_flops(call):
    """The FLOPs of one call of a layer, as `slimming_flops` counts them.

    Args:
        call: A `graph.Call`.
    """
    multiplied = macs.call_macs(call)
    if multiplied is None:
        raise ValueError(
            "FLOPs need layers whose MACs are known. "
            f"Received: layer {graph.name(call)!r}"
        )
    return 2 * multiplied + times(call.path) * _others(
        call.operation,
        math.prod(call.inputs[0].shape[1:]) if call.inputs else 0,
        math.prod(call.outputs[0].shape[1:]),
    )


def _others(layer, read, made):
    """FLOPs beside those of a kernel, from the entries read and made."""
    count = 0
    if getattr(layer, "bias", None) is not None:
        count += made
    if isinstance(layer, keras.layers.BatchNormalization):
        count += 2 * made
    if isinstance(layer, _GLOBAL_POOLINGS):
        count += read
    if hasattr(layer, "pool_size"):
        count += math.prod(layer.pool_size) * made
    if _rectifies(layer):
        count += made
    return count


def _rectifies(operation):
    """Whether a ReLU is applied: as a layer, an argument or an operation."""
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", type(operation).__name__)
    return name.lower() in ("relu", "relu6")
