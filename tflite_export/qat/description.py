"""A Keras 3 model as plain data, from which its `tf_keras` twin is built.

Everything is written in terms that TFMOT can quantize: activations are layers
of their own, an Add has two inputs, and a scale and shift per channel
(normalisations without a convolution before them, rescaling) is a 1 x 1
depthwise convolution, which int8 computes in one operation.
"""

import dataclasses
import re

import numpy as np
from keras import activations
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex import layouts
from tflite_export.qat import table

_WEIGHTED = ("Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "Dense")


@dataclasses.dataclass(frozen=True)
class Node:
    """One layer of the twin.

    Attributes:
        kind: The name of a layer class of `tf_keras`, or of a function of
            `twin.FUNCTIONS`.
        name: The name of the twin's layer.
        config: The layer's arguments.
        weights: The layer's weights as arrays, in its order.
        inputs: Indices of the nodes that it reads.
        source: The name of the Keras 3 layer that it stands for. Of several
            nodes of one layer, the last has that layer's output.
    """

    kind: str
    name: str
    config: dict
    weights: list
    inputs: list
    source: str


def describe(model):
    """The nodes of the twin, its input first, and the index of its output.

    Raises:
        ValueError: A layer has no twin; it is named.
    """
    flat = graph.flattened(model)
    _check(flat.calls)
    description = _Description(flat.calls)
    for call in flat.calls:
        description.follow(call)
    return description.nodes, description.of(flat.outputs[0])


def outputs(model, x):
    """Yields (layer name, its output on `x`), call by call."""
    flat = graph.flattened(model)
    known = {id(model.inputs[0]): ops.convert_to_tensor(x)}
    for call in flat.calls:
        if call.node.is_input:
            continue
        given = [known[id(t)] for t in call.inputs]
        (output,) = graph.outputs_for(call, given, training=False)
        known[id(call.outputs[0])] = output
        yield graph.name(call), ops.convert_to_numpy(output)


def _check(calls):
    called = set()
    for call in calls:
        operation = call.operation
        if id(operation) in called and getattr(operation, "weights", None):
            raise ValueError(
                "Layers that are called more than once share their weights, "
                "which TFMOT does not quantize. "
                f"Received: layer '{graph.name(call)}'"
            )
        called.add(id(operation))
        if layouts.channels_first(operation):
            raise ValueError(
                "LiteRT wants the channels last. Received: layer "
                f"'{graph.name(call)}' with data_format='channels_first'"
            )


class _Description:
    """The nodes so far, and what the table's functions add to them."""

    def __init__(self, calls):
        self.nodes = []
        self._of = {}
        self._names = set()
        self._readers = {}
        for call in calls:
            for tensor in call.inputs:
                key = id(tensor)
                self._readers[key] = self._readers.get(key, 0) + 1

    def follow(self, call):
        operation = call.operation
        self.call = call
        self._before = len(self.nodes)
        twin = table.find(operation)
        if twin is None:
            raise ValueError(
                "Quantization-aware training knows no twin of this layer "
                f"type. Received: layer '{graph.name(call)}' "
                f"({type(operation).__name__})"
            )
        inputs = [self.of(t) for t in call.inputs]
        (output,) = call.outputs
        self._of[id(output)] = twin(self, operation, *inputs)

    def of(self, tensor):
        """The index of the node that stands for a tensor of the model."""
        return self._of[id(tensor)]

    def add(self, kind, inputs, config=None, weights=()):
        """Adds a node, returns its index."""
        source = graph.name(self.call)
        self.nodes.append(
            Node(
                kind,
                self._new_name(source),
                config or {},
                list(weights),
                inputs if isinstance(inputs, list) else [inputs],
                source,
            )
        )
        return len(self.nodes) - 1

    def _new_name(self, source):
        # Among others "/" is no part of a name in tf_keras.
        stem = name = re.sub(r"\W+", "_", source).strip("_") or "layer"
        number = 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name

    def follows(self, x, *kinds):
        """Whether a node has one of the kinds and only this call reads it."""
        (tensor,) = self.call.inputs
        alone = x >= self._before or self._readers[id(tensor)] == 1
        return alone and self.nodes[x].kind in kinds

    def rank(self):
        """The rank of the call's first input."""
        return len(self.call.inputs[0].shape)

    def affine(self, x, scale, shift):
        """scale * x + shift, one number each or one per channel."""
        channels = self.call.inputs[0].shape[-1]
        scale = np.broadcast_to(np.float32(scale), channels)
        shift = np.broadcast_to(np.float32(shift), channels)
        if self.rank() != 4:
            config = {"scale": scale.tolist(), "shift": shift.tolist()}
            return self.add("affine", x, config)
        return self.add(
            "DepthwiseConv2D",
            x,
            {"kernel_size": 1, "trainable": False},
            [scale.reshape(1, 1, channels, 1), shift],
        )

    def activation(self, x, function):
        """Adds the activation as a layer of its own, unless it is linear."""
        if function is None or function is activations.linear:
            return x
        if function not in table.ACTIVATIONS:
            name = getattr(function, "__name__", repr(function))
            raise ValueError(
                "Quantization-aware training knows no twin of this "
                f"activation. Received: layer '{graph.name(self.call)}' with "
                f"activation={name!r}"
            )
        kind, config = table.ACTIVATIONS[function]
        if kind == "ReLU":
            return self.relu(x, config)
        return self.add(kind, x, config)

    def relu(self, x, config):
        """Adds a ReLU, which joins the layer before it if that has weights.

        TFMOT does not quantize the weights of a layer with a ReLU layer after
        it, and only the plain ReLU can join a layer.
        """
        if not self.follows(x, *_WEIGHTED):
            return self.add("ReLU", x, config)
        if config:
            return self.add("relu", x, config)
        self.nodes[x] = dataclasses.replace(
            self.nodes[x],
            config={**self.nodes[x].config, "activation": "relu"},
            source=graph.name(self.call),
        )
        return x
