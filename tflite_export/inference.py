"""A Keras model as phones run it: for inference, in float32, by names."""

import contextlib
import re

import keras
import numpy as np
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex import unfolding

_OTHERS = ("float16", "bfloat16", "float64")


def functional(model):
    """A model as a functional one, which knows its inputs and outputs.

    Args:
        model: A built Keras model; a subclassed one is unfolded.
    """
    graph.check_built(model)
    whole = graph if graph.is_graph(model) else unfolding
    return whole.functional(model)


def names(model):
    """The legal names of a model's inputs and of its outputs, in order.

    TensorFlow takes Python's identifiers, each once: `bild:0` becomes
    `bild_0`.

    Args:
        model: A functional model.

    Returns:
        Two lists of strings.
    """
    inputs = _keys(model.input) or [tensor.name for tensor in model.inputs]
    outputs = _keys(model.output) or _makers(model.outputs)
    return _legal(inputs), _legal(outputs)


def _keys(structure):
    """The names that a dict gives to its tensors, in Keras' order."""
    if not isinstance(structure, dict):
        return None
    order = tree.pack_sequence_as(
        structure, list(range(len(tree.flatten(structure))))
    )
    whole = all(isinstance(place, int) for place in order.values())
    return sorted(order, key=order.get) if whole else None


def _makers(tensors):
    return [tensor._keras_history.operation.name for tensor in tensors]


def _legal(given):
    made = []
    for name in given:
        name = re.sub(r"\W", "_", name, flags=re.ASCII)
        stem = name = name if name[:1].isalpha() else f"_{name}"
        number = 1
        while name.lower() in map(str.lower, made):
            name = f"{stem}_{number}"
            number += 1
        made.append(name)
    return made


def predict(model, x):
    """The outputs of a model in float32, as a list of arrays.

    Args:
        model: A functional model.
        x: A list of one array for each input.
    """
    given = tree.pack_sequence_as(model.input, list(x))
    if not isinstance(model.input, dict) and len(x) == 1:
        (given,) = x
    with float32(model):
        found = model.predict(given, batch_size=min(len(x[0]), 256), verbose=0)
    return [np.asarray(one) for one in tree.flatten(found)]


@contextlib.contextmanager
def float32(model):
    """A scope in which a model of any policy computes in float32.

    Its variables stay as they are: those of mixed precision are float32
    already, others are widened where they are read.

    Args:
        model: A functional model.
    """
    changes = []
    for layer in model._flatten_layers():
        if layer.compute_dtype in _OTHERS:
            policy = _Widened(layer._dtype_policy)
            changes.append((layer, "_dtype_policy", policy))
        # Models cast what they get.
        if isinstance(layer, keras.layers.InputLayer):
            if layer.dtype in _OTHERS:
                changes += [
                    (one, "_dtype", "float32") for one in (layer, layer.output)
                ]
    if changes:
        # Keras keeps the function that it compiled for the policies before.
        changes.append((model, "predict_function", None))
    with contextlib.ExitStack() as stack:
        for change in changes:
            stack.enter_context(_changed(*change))
        yield


@contextlib.contextmanager
def _changed(thing, name, value):
    """A scope in which an attribute has another value."""
    before = getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        setattr(thing, name, before)


class _Widened(keras.DTypePolicy):
    """float32 for what a layer computes, with the variables that it has."""

    def __init__(self, policy):
        super().__init__("float32")
        self._variable_dtype = policy.variable_dtype


def save(model, folder, batch_size):
    """Writes a SavedModel that computes what `predict` does, in float32.

    Args:
        model: A functional model.
        folder: The folder to write.
        batch_size: The batch size, or `None` to leave it open.
    """
    inputs, outputs = names(model)
    signature = [
        keras.InputSpec(
            shape=(batch_size, *tensor.shape[1:]),
            dtype=dtype(tensor),
            name=name,
        )
        for tensor, name in zip(model.inputs, inputs, strict=True)
    ]

    def serve(*tensors):
        given = tree.pack_sequence_as(model.input, list(tensors))
        # Layers that augment draw numbers even where they do not use them.
        with keras.StatelessScope() as scope:
            found = tree.flatten(model(given, training=False))
        _check_stateless(model, scope)
        return dict(zip(outputs, found, strict=True))

    archive = keras.export.ExportArchive()
    archive.track(model)
    with float32(model):
        archive.add_endpoint("serve", serve, signature)
        archive.write_out(folder, verbose=False)


def _check_stateless(model, scope):
    for variable in model.variables:
        seed = variable.name == "seed_generator_state"
        if not seed and scope.get_current_value(variable) is not None:
            raise ValueError(
                "A file keeps nothing from one run to the next: a layer must "
                "not change its variables where training=False. Received: "
                f"model={model.name!r} with variable {variable.path!r}"
            )


def dtype(tensor):
    """The type of an input of the file: float32 for all real numbers."""
    kind = keras.backend.standardize_dtype(tensor.dtype)
    return "float32" if kind in _OTHERS else kind


def check_unquantized(model):
    """Refuses layers that Keras itself has quantized."""
    for layer in model._flatten_layers():
        mode = getattr(layer, "quantization_mode", None)
        if mode is not None:
            raise ValueError(
                "Layers that Keras' `quantize` has changed are not converted: "
                "convert the model as it was before, with "
                "precision='int8' or 'dynamic'. "
                f"Received: layer {layer.name!r} quantized to {mode!r}"
            )
