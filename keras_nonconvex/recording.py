"""Records: what a layer calls inside, as nodes of a Keras graph."""

import collections
import contextlib
import re

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_nonconvex import graph

# What one call of a layer does: Keras' records of the calls inside it, in
# order, between symbolic inputs and outputs. Both may be nested.
Record = collections.namedtuple("Record", "nodes inputs outputs")

# Layer types that stay whole, since a pruning rule speaks of them.
KNOWN = set()

# A batch of this size stands for one that is free: code that computes with
# sizes can be recorded, and those that come from the batch are multiples.
BATCH = 127


class CannotUnfold(Exception):
    """Says why a layer stays whole.

    Attributes:
        passes: Whether it only gives back what it gets, except in training.
    """

    def __init__(self, reason, passes=False):
        super().__init__(reason)
        self.passes = passes


def foldable(operation):
    """Whether a layer may be one that makes other layers inside."""
    kind = type(operation)
    return (
        isinstance(operation, keras.layers.Layer)
        and not graph.is_graph(operation)
        # The function of a Lambda may call anything.
        and (
            kind is keras.layers.Lambda
            or not (kind in KNOWN or graph.of_keras(kind))
        )
    )


def of_graph(model):
    """The record of a Sequential or functional model."""
    model = graph.functional(model)
    return Record(list(graph.nodes(model)), model.input, model.output)


def of_call(layer, args, kwargs):
    """The record of one call of a layer that makes other layers inside.

    Args:
        layer: A built layer. It stays as it is.
        args: The positional arguments of the call.
        kwargs: Its keyword arguments.

    Raises:
        CannotUnfold: A condition does not hold.
    """
    _check(layer, tensors((args, kwargs)))

    def recorded(training):
        return _recorded(layer, args, {**kwargs, "training": training})

    record, other = recorded(False), recorded(True)
    mine = {id(inner) for inner in layer._flatten_layers()}
    if _calls(record, mine) != _calls(other, mine):
        if _calls(record, mine) != _calls(recorded(False), mine):
            raise CannotUnfold("it calls something else each time")
        raise CannotUnfold(
            "it calls something else with training=True",
            passes=_gives_back(record),
        )
    _follow_training(record, other)
    return record


def tensors(structure):
    """The symbolic tensors of nested arguments, as a flat list."""
    return [
        t for t in tree.flatten(structure) if isinstance(t, keras.KerasTensor)
    ]


def signature(args, kwargs):
    """What two calls have in common if they can share a record."""
    given = [
        (t.shape, t.dtype) if isinstance(t, keras.KerasTensor) else repr(t)
        for t in tree.flatten((args, kwargs))
    ]
    return repr((given, sorted(kwargs)))


def view(layer, **changes):
    """A layer in another graph: the same variables, no calls yet.

    Args:
        layer: A layer or operation.
        **changes: Attributes that differ.
    """
    other = object.__new__(type(layer))
    other.__dict__.update(layer.__dict__)
    other.__dict__.update(_inbound_nodes=[], _outbound_nodes=[], **changes)
    return other


def _check(layer, given):
    inner = layer._flatten_layers(include_self=False)
    theirs = {id(v) for other in inner for v in other.weights}
    for variable in layer.weights:
        if id(variable) not in theirs:
            raise CannotUnfold(
                f"its weight '{variable.name}' is not of a layer inside it"
            )
    if layer.activity_regularizer is not None:
        raise CannotUnfold("it has an activity regularizer")
    masked = any(getattr(t, "_keras_mask", None) is not None for t in given)
    if masked and any(
        "mask" in name for name in layer._call_signature.parameters
    ):
        raise CannotUnfold("it reads the mask of its input")


def _recorded(layer, args, kwargs):
    names = iter(_names_of_inputs(tensors((args, kwargs))))
    inputs = []

    def fresh(t):
        if isinstance(t, keras.KerasTensor):
            inputs.append(
                keras.Input(
                    batch_shape=(t.shape[0] or BATCH, *t.shape[1:]),
                    dtype=t.dtype,
                    name=next(names),
                )
            )
            return inputs[-1]
        return t

    args, kwargs = tree.map_structure(fresh, (list(args), kwargs))
    found = []

    def spy(*args, **kwargs):
        found.append(probe.call(*args, **kwargs))
        return tree.map_structure(_copy, found[0])

    # Everything that Keras does around `call` happens; only the call itself
    # is on symbolic tensors, and so are those of the layers inside.
    probe = view(layer, compute_output_spec=spy)
    with _without_new_nodes(layer):
        try:
            probe(*args, **kwargs)
            (outputs,) = found
            nodes = _nodes(tensors(outputs), inputs)
            for node in nodes:
                _settle(node)
            return Record(nodes, inputs, outputs)
        except Exception as error:
            raise CannotUnfold(
                f"its call does not take symbolic tensors ({first_line(error)})"
            ) from error


def first_line(error):
    """An error in one line, without what Keras says of where it was."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    text = re.sub(r"Exception encountered when calling .*", "", text)
    (first, *_) = text.strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}"


def _copy(t):
    if not isinstance(t, keras.KerasTensor):
        raise TypeError(f"it returns {type(t).__name__}, not a tensor")
    return keras.KerasTensor(t.shape, t.dtype)


def _names_of_inputs(given):
    """Those of a model's inputs; else "input", "input_1" and so on."""
    names = []
    for t in given:
        source = t._keras_history.operation
        known = isinstance(source, keras.layers.InputLayer)
        names.append(graph.unused(source.name if known else "input", names))
    return names


@contextlib.contextmanager
def _without_new_nodes(layer):
    """A scope after which the layers inside forget how they were called."""
    lists = [
        nodes
        for inner in layer._flatten_layers()
        for nodes in (inner._inbound_nodes, inner._outbound_nodes)
    ]
    counts = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, count in zip(lists, counts, strict=True):
            del nodes[count:]


def _nodes(outputs, inputs):
    """The nodes between symbolic tensors, in topological order."""
    entering = {id(t) for t in inputs}
    ordered, done, waiting = [], set(), outputs[::-1]
    while waiting:
        t = waiting[-1]
        source, index, _ = t._keras_history
        node = source._inbound_nodes[index]
        if id(t) in entering or id(node) in done:
            waiting.pop()
            continue
        if node.is_input:
            raise ValueError("it uses a symbolic tensor of another model")
        before = [
            p
            for p in node.arguments.keras_tensors
            if id(p) not in entering and id(_node_of(p)) not in done
        ]
        if before:
            waiting += before[::-1]
        else:
            done.add(id(node))
            ordered.append(node)
            waiting.pop()
    return ordered


def _settle(node):
    """Frees the batch again, where a reshape names its size."""
    shape = vars(node.operation).get("newshape")
    if shape is None or not any(_of_batch(n) for n in shape):
        return
    (given,) = node.arguments.keras_tensors
    if _of_batch(given.shape[0]) and given.shape[0] == shape[0]:
        node.operation = keras.layers.Reshape(shape[1:])
    else:
        shape = node.outputs[0].shape
        node.operation.newshape = tuple(
            -1 if n is None or _of_batch(n) else n for n in shape
        )


def _of_batch(n):
    return bool(n) and n % BATCH == 0


def _node_of(t):
    source, index, _ = t._keras_history
    return source._inbound_nodes[index]


def _follow_training(record, other):
    """Leaves `training` open where it follows that of the layer.

    A functional model hands its own `training` to every layer, whatever the
    call on record says.

    Args:
        record: The `Record` with `training=False`; its nodes are changed.
        other: The one with `training=True`.

    Raises:
        CannotUnfold: A call fixes its `training`.
    """
    for node, later in zip(record.nodes, other.nodes, strict=True):
        now, then = (n.arguments.kwargs.get("training") for n in (node, later))
        if now not in (None, False) or then not in (None, True):
            fixed = then if now in (None, False) else now
            raise CannotUnfold(
                f"it calls '{node.operation.name}' with training={fixed}, "
                "whatever its own is"
            )
        node.arguments.kwargs.pop("training", None)


def _gives_back(record):
    """Whether a layer only gives back what it gets."""
    pairs = zip(record.inputs, tensors(record.outputs), strict=False)
    return not record.nodes and all(a is b for a, b in pairs)


def _calls(record, mine):
    """The calls of a record, so that two records can be compared."""
    places = {id(t): i for i, t in enumerate(record.inputs)}
    calls = []
    for node in record.nodes:
        kwargs = dict(node.arguments.kwargs)
        kwargs.pop("training", None)
        leaves = tree.flatten((node.arguments.args, kwargs))
        calls.append(
            (
                _identity(node.operation, mine),
                sorted(kwargs),
                [_plain(leaf, places) for leaf in leaves],
            )
        )
        for t in node.outputs:
            places[id(t)] = len(places)
    return calls, [places[id(t)] for t in tensors(record.outputs)]


def _identity(operation, mine):
    """What a call calls: a layer that is there, or one made on the way."""
    if id(operation) in mine:
        return id(operation)
    if isinstance(operation, keras.layers.Layer):
        settings = operation.get_config()
    else:
        settings = vars(operation)
    return type(operation), repr(
        {
            key: _plain(value, {})
            for key, value in sorted(settings.items())
            if key not in ("name", "_auto_config")
            and not key.endswith("bound_nodes")
        }
    )


def _plain(value, places):
    if isinstance(value, keras.KerasTensor):
        return places[id(value)]
    if isinstance(value, keras.Variable):
        raise CannotUnfold(f"it reads the weight '{value.path}' itself")
    if isinstance(value, np.ndarray) or ops.is_tensor(value):
        array = np.asarray(ops.convert_to_numpy(value))
        return array.shape, array.tobytes()
    return getattr(value, "__qualname__", None) or repr(value)
