"""Models in TimeDistributed, as graphs: time steps enter them as samples."""

import math

import keras
from keras import ops


class AsSamples(keras.Operation):
    """Puts time steps beside the samples: (n, t, ...) -> (n t, ...)."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, *x.shape[2:]), x.dtype)


class AsSteps(keras.Operation):
    """Puts them back: (n t, ...) -> (n, t, ...).

    Args:
        steps: The number t of time steps.
    """

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def call(self, x):
        return ops.reshape(x, (-1, self.steps, *x.shape[1:]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, self.steps, *x.shape[1:]), x.dtype)


def called(operation, tensor):
    """(output, node) of an operation on a tensor like this one.

    Args:
        operation: An `AsSamples` or `AsSteps`.
        tensor: A symbolic tensor, which hears nothing of the call.
    """
    output = operation(keras.KerasTensor(tensor.shape, tensor.dtype))
    return output, operation._inbound_nodes[-1]


def steps(node):
    """How many time steps a call is over, if it is one of TimeDistributed.

    Args:
        node: Keras' record of the call.

    Returns:
        An int; None for other calls, and where the number is free.
    """
    if not isinstance(node.operation, keras.layers.TimeDistributed):
        return None
    tensors = node.arguments.keras_tensors
    return tensors[0].shape[1] if len(tensors) == 1 else None


def times(path):
    """How often what is inside of nested models is called for one sample.

    Args:
        path: The calls around it, as in `graph.Call`.
    """
    return math.prod(steps(node) or 1 for node in path)
