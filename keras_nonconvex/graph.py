"""One walk over a Keras graph: every call of every layer, in order."""

import collections
import contextlib

import keras
from keras import tree

Call = collections.namedtuple("Call", "operation inputs outputs")


def check_functional(model):
    """Refuses a model whose graph Keras does not know."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Argument `model` must be a keras.Model. Received: model={model!r}"
        )
    if not model.built:
        raise ValueError(
            "The model has no weights yet: give it an input shape or call "
            f"model.build(...) first. Received: model={model.name!r}"
        )
    if not (
        isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth")
    ):
        raise ValueError(
            "A subclassed model has no graph to follow: build it as "
            "keras.Model(inputs, outputs), or call its layers on "
            "keras.Input(...) once and wrap the result. "
            f"Received: model={model.name!r} ({type(model).__name__})"
        )


def functional(model):
    """The functional form of a Sequential or functional model."""
    check_functional(model)
    if isinstance(model, keras.Sequential):
        (inputs,), (outputs,) = model.inputs, model.outputs
        return keras.Model(inputs, outputs, name=model.name)
    return model


def layers(model):
    """All layers of a model, those of nested models in their place."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers(layer)
        else:
            yield layer


def sublayers(model):
    """All layers of a model, with those inside of wrappers and blocks."""
    seen = set()
    for layer in layers(model):
        for inner in layer._flatten_layers():
            if id(inner) not in seen:
                seen.add(id(inner))
                yield inner


def calls(model):
    """All calls of a functional model in topological order, inputs first."""
    model = functional(model)
    found = []
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            found.append(
                Call(
                    node.operation,
                    list(node.arguments.keras_tensors),
                    tree.flatten(node.outputs),
                )
            )
    return found


@contextlib.contextmanager
def without_dropout(model):
    """A scope in which the dropout layers of a model do nothing."""
    rates = [
        (layer, layer.rate)
        for layer in sublayers(model)
        if hasattr(layer, "rate") and hasattr(layer, "seed_generator")
    ]
    try:
        for layer, _ in rates:
            layer.rate = 0.0
        yield
    finally:
        for layer, rate in rates:
            layer.rate = rate
