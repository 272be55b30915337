"""The `tf_keras` twin of a described model; runs in the worker alone."""

import tensorflow as tf
import tf_keras

# Layers that tf_keras lacks, or computes otherwise than Keras 3.
FUNCTIONS = {
    "add_constant": lambda x, value: x + tf.constant(value, x.dtype),
    "affine": lambda x, scale, shift: (
        x * tf.constant(scale, x.dtype) + tf.constant(shift, x.dtype)
    ),
    "concatenate": lambda x, axis: tf.concat(x, axis),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1 / 6),
    "hard_silu": lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "relu": lambda x, **config: tf_keras.layers.ReLU(**config)(x),
    "pad": lambda x, width: tf.pad(x, width),
    "take": lambda x, indices, axis: tf.gather(x, indices, axis=axis),
}
# Functions that only move values, so that the range of the output is known.
MOVING = ("pad", "take")


class Function(tf_keras.layers.Layer):
    """One of `FUNCTIONS` as a layer."""

    def __init__(self, function, arguments, **options):
        super().__init__(**options)
        self.function = function
        self.arguments = arguments

    def call(self, inputs):
        return FUNCTIONS[self.function](inputs, **self.arguments)

    def get_config(self):
        return {
            **super().get_config(),
            "function": self.function,
            "arguments": self.arguments,
        }


def build(nodes, output, weights):
    """Builds the twin.

    Args:
        nodes: The nodes of `description.describe`, as dicts.
        output: The index of the output's node.
        weights: Iterator over the arrays of all nodes, in order.

    Returns:
        The model, and {source name: the tensor that stands for its output}.
    """
    tensors, sources = [], {}
    for node in nodes:
        if node["kind"] == "Input":
            tensor = tf_keras.Input(name=node["name"], **node["config"])
        else:
            inputs = [tensors[i] for i in node["inputs"]]
            layer = _layer(node)
            tensor = layer(inputs if len(inputs) > 1 else inputs[0])
            layer.set_weights([next(weights) for _ in layer.weights])
            sources[node["source"]] = tensor
        tensors.append(tensor)
    return tf_keras.Model(tensors[0], tensors[output]), sources


def _layer(node):
    config = {"name": node["name"], **node["config"]}
    if node["kind"] in FUNCTIONS:
        config = {"name": node["name"], "arguments": node["config"]}
        return Function(node["kind"], **config)
    return getattr(tf_keras.layers, node["kind"])(**config)
