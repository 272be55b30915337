"""One walk over a Keras graph: every call of every layer, in order."""

import collections
import contextlib
import inspect
import itertools

import keras
from keras import tree

from keras_nonconvex import time_steps

# One call of a layer or operation. `inputs` and `outputs` are flat lists of
# symbolic tensors, `node` is Keras' record of the call, `path` the nested
# models around it, the outermost first.
Call = collections.namedtuple("Call", "operation inputs outputs node path")


def check_built(model):
    """Refuses what is no model, or has no weights yet."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Argument `model` must be a keras.Model. Received: model={model!r}"
        )
    if not model.built:
        raise ValueError(
            "The model has no weights yet: give it an input shape or call "
            f"model.build(...) first. Received: model={model.name!r}"
        )


def check_functional(model):
    """Refuses a model whose graph Keras does not know."""
    check_built(model)
    if not is_graph(model):
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
        structures = (model.inputs, model.outputs)
        inputs, outputs = (t[0] if len(t) == 1 else t for t in structures)
        trainable = None if model.trainable else False
        return keras.Model(
            inputs, outputs, name=model.name, trainable=trainable
        )
    return model


def layers(model):
    """All layers of a model; nested models are replaced by their layers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers(layer)
        else:
            yield layer


def sublayers(model):
    """All layers of a model, and those inside of wrappers and blocks."""
    seen = set()
    for chain in chains(model):
        if id(chain[-1]) not in seen:
            seen.add(id(chain[-1]))
            yield chain[-1]


def chains(model):
    """Each layer inside of a model, after the models and layers around it.

    Args:
        model: A model; or a layer, which then begins all tuples.

    Returns:
        An iterator over tuples of layers, the outermost first; the last one
        is the layer itself. A nested model has no tuple of its own.
    """
    return _chains(model, () if isinstance(model, keras.Model) else (model,))


def _chains(layer, around):
    inside = (
        layer.layers
        if isinstance(layer, keras.Model)
        else layer._flatten_layers(include_self=False, recursive=False)
    )
    for inner in inside:
        if not isinstance(inner, keras.Model):
            yield (*around, inner)
        yield from _chains(inner, (*around, inner))


# One call of a nested model: its node, the path to its inside, and which
# tensors enter and leave it.
Nested = collections.namedtuple("Nested", "node path inputs outputs")

# A graph in which nested models are replaced by the calls of their layers.
Flat = collections.namedtuple("Flat", "calls outputs nested")


def calls(model):
    """All calls of a functional model in topological order, inputs first."""
    return flattened(model).calls


def flattened(model, in_time=False):
    """The `Flat` graph: nested models are followed to their layers.

    Each call of a nested model gets fresh symbolic tensors for its inside.

    Args:
        model: A functional or Sequential model.
        in_time: Whether models in TimeDistributed are followed, too. Their
            time steps are then samples. Defaults to `False`.
    """
    model = functional(model)
    tensors = {id(t): t for t in model.inputs}
    nested = []
    flat = list(_calls(model, tensors, (), nested, in_time))
    return Flat(flat, [tensors[id(t)] for t in model.outputs], nested)


def _calls(model, tensors, path, nested, in_time):
    for node in nodes(model):
        operation = node.operation
        if node.is_input:
            if not path:
                yield Call(operation, [], node.outputs, node, path)
            continue
        inputs = [tensors[id(t)] for t in node.arguments.keras_tensors]
        if is_graph(operation):
            inner = functional(operation)
            inside = (*path, node)
            given = [tensors[id(t)] for t in entering(node)]
            known = dict(zip(map(id, inner.inputs), given, strict=True))
            yield from _calls(inner, known, inside, nested, in_time)
            outputs = [known[id(t)] for t in inner.outputs]
            nested.append(Nested(node, inside, given, outputs))
            for old, new in zip(node.outputs, outputs, strict=True):
                tensors[id(old)] = new
            continue
        if in_time and model_in_time(node) is not None:
            yield from _in_time(node, inputs, tensors, path, nested)
            continue
        outputs = node.outputs
        if path:
            outputs = [keras.KerasTensor(t.shape, t.dtype) for t in outputs]
        tensors.update(zip(map(id, node.outputs), outputs, strict=True))
        yield Call(operation, inputs, outputs, node, path)


def model_in_time(node):
    """The model that a call repeats over time steps, of a fixed number.

    Args:
        node: Keras' record of the call.

    Returns:
        A model of one input and one output in a TimeDistributed; else None.
    """
    if time_steps.steps(node) is None:
        return None
    model = node.operation.layer
    alone = is_graph(model) and len(model.inputs) == len(model.outputs) == 1
    return model if alone else None


def _in_time(node, inputs, tensors, path, nested):
    """The calls of a model in TimeDistributed, between two that reshape."""
    (x,), inside = inputs, (*path, node)
    model = functional(model_in_time(node))
    steps = time_steps.AsSamples(), time_steps.AsSteps(time_steps.steps(node))
    entered, record = time_steps.called(steps[0], x)
    yield Call(steps[0], [x], [entered], record, inside)
    known = {id(model.inputs[0]): entered}
    yield from _calls(model, known, inside, nested, True)
    left = known[id(model.outputs[0])]
    nested.append(Nested(node, inside, [entered], [left]))
    output, record = time_steps.called(steps[1], left)
    yield Call(steps[1], [left], [output], record, inside)
    tensors[id(node.outputs[0])] = output


def entering(node):
    """The tensors that a call of a nested model gives to each of its inputs.

    A dict is read by the names of the inputs, where the model was not made
    with a dict itself; it may have more entries. Masks do not enter.

    Args:
        node: Keras' record of the call.

    Returns:
        A list of symbolic tensors, in the order of the model's `inputs`.
    """
    model, arguments = node.operation, node.arguments
    given, *_ = (*arguments.args, *arguments.kwargs.values())
    if isinstance(given, dict) and not isinstance(model.input, dict):
        return [given[t.name] for t in model.inputs]
    return tree.flatten(given)


def outputs_for(call, inputs, training=None):
    """What a call returns for other inputs than it was recorded with.

    Args:
        call: A `Call`. Its other arguments are those of the record.
        inputs: One value per tensor of `call.inputs`, in their order.
        training: What layers are told in place of the record, as `predict`
            tells them `False`. Defaults to `None`: what is on record, where
            augmentation is in training.

    Returns:
        A flat list with one value per tensor of `call.outputs`.
    """
    arguments = call.node.arguments
    # Keras' record has the tensors of the nested model, a `Call` fresh ones.
    values = zip(map(id, arguments.keras_tensors), inputs, strict=True)
    args, kwargs = arguments.fill_in(dict(values))
    if training is not None and isinstance(call.operation, keras.Layer):
        kwargs["training"] = training
    return tree.flatten(call.operation(*args, **kwargs))


def batch_sizes(calls, usual):
    """How many samples to try a model on: those that a layer insists on last.

    Args:
        calls: The calls of the model, a list of `Call`.
        usual: How many samples to try first, where the inputs leave it open.

    Returns:
        A list of ints.
    """
    for call in calls:
        if call.node.is_input and call.outputs[0].shape[0]:
            return [call.outputs[0].shape[0]]
    shapes = [t.shape for call in calls for t in call.outputs]
    insisted = {shape[0] for shape in shapes if len(shape) and shape[0]}
    return [usual, *sorted(insisted - {usual})]


def in_training(calls):
    """The calls that run in training mode, even in a model that infers.

    Keras takes the first that says so: the nested models around a call, the
    outermost first, the call itself, what an earlier call of the model was
    told (Keras 3.15 hands it on), and the layer's default.

    Args:
        calls: The calls of a model, in order.

    Returns:
        A set of `(id of the node, path)`.
    """
    found, handed_on = set(), False
    for call in calls:
        if not isinstance(call.operation, keras.layers.Layer):
            continue
        parameters = inspect.signature(call.operation.call).parameters
        if "training" not in parameters:
            continue
        told = [_training(node) for node in (*call.path, call.node)]
        told = [asked for asked in told if asked is not None]
        default = parameters["training"].default is True
        # Augmentation is told so by default, which says nothing of others.
        handed_on = handed_on or bool(told and told[0] and not default)
        if told[0] if told else handed_on or default:
            found.add((id(call.node), call.path))
    return found


def _training(node):
    """The argument `training` of a call, None if it has none."""
    arguments = node.arguments
    signature = inspect.signature(node.operation.call)
    try:
        given = signature.bind_partial(*arguments.args, **arguments.kwargs)
    except TypeError:
        return arguments.kwargs.get("training")
    return given.arguments.get("training")


def variables(call):
    """The variables of a call's layer, and those among its arguments."""
    arguments = call.node.arguments
    given = tree.flatten((arguments.args, arguments.kwargs))
    own = getattr(call.operation, "variables", ())
    return [*own, *(x for x in given if isinstance(x, keras.Variable))]


def nodes(model):
    """Keras' records of a functional model's calls, inputs first."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def is_graph(operation):
    """Whether a layer is a model whose own layers can be followed."""
    return (
        isinstance(operation, keras.Model)
        and operation.built
        and (
            isinstance(operation, keras.Sequential)
            or hasattr(operation, "_nodes_by_depth")
        )
        # With a `call` of its own it may do more than its graph.
        and not _has_own_call(type(operation))
    )


def _has_own_call(kind):
    """Whether a class of the user's own says what a call does."""
    own = itertools.takewhile(lambda base: not of_keras(base), kind.__mro__)
    return any({"call", "__call__"} & vars(base).keys() for base in own)


def of_keras(kind):
    """Whether a class is one of Keras' own."""
    return kind.__module__.split(".")[0] == "keras"


def unused(name, names):
    """The name, or with the first number that makes it a new one."""
    candidates = (f"{name}_{i}" if i else name for i in itertools.count())
    return next(c for c in candidates if c not in names)


def name(call):
    """The name of a call's layer, after the names of the models around it."""
    around = [node.operation.name for node in call.path]
    return "/".join([*around, call.operation.name])


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
