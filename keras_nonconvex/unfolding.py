"""Unfolding: own layers and subclassed models as graphs of Keras layers."""

import collections
import functools
import itertools
import re

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex import recording

# A functional model; {id of one of its layers that had to stay whole: why};
# and the ids of those that only give back what they get, except in training.
Unfolded = collections.namedtuple("Unfolded", "model whole passing")


def unfold(model):
    """A model as a graph in which own layers are followed to what they call.

    A layer that makes other layers inside, called on symbolic tensors, leaves
    a record of what it calls. It becomes a nested model of its name, in which
    layers are named as the attributes that hold them; that is repeated until
    only layers of Keras are left, and those that a pruning rule speaks of. A
    subclassed model is such a layer itself.

    A layer is unfolded if all its weights belong to layers inside it, if it
    calls the same with `training=True` as without, and if the result computes
    what the layer does, for random inputs and weights. Otherwise it stays.

    Args:
        model: A built `keras.Model`. It stays as it is.

    Returns:
        An `Unfolded`. Its model has the variables of `model`; where there was
        something to unfold, its layers are others than those of `model`.

    Raises:
        ValueError: The model is not built, or it is a subclassed one that
            cannot be unfolded.
    """
    graph.check_built(model)
    if graph.is_graph(model) and not _has_foldable(model):
        return Unfolded(graph.functional(model), {}, set())
    refused = {}
    while True:
        unfolding = _Unfolding(refused)
        made = unfolding.of(model)
        culprits = unfolding.culprits(model, made)
        if not culprits:
            return Unfolded(made, unfolding.whole, unfolding.passing)
        refused.update(culprits)


def functional(model):
    """The unfolded form of a model; see `unfold`."""
    return unfold(model).model


def _has_foldable(model):
    return any(
        _has_foldable(operation)
        if graph.is_graph(operation)
        else recording.foldable(operation)
        for operation in graph.functional(model).operations
    )


class _Unfolding:
    """One attempt: builds the graph from views of the model's layers.

    Attributes:
        whole, passing: As in `Unfolded`.

    Args:
        refused: {id of a layer: why it must not be unfolded}.
    """

    def __init__(self, refused):
        self.whole = {}
        self.passing = set()
        self._refused = dict(refused)
        self._built = {}
        self._opened = {}
        self._inside = {}
        self._names = set()

    def of(self, model):
        """The unfolded form of a model."""
        if graph.is_graph(model):
            self._root = recording.of_graph(model)
            scope = _Scope(self._names)
        else:
            self._root = self._record_of_model(model)
            scope = _Scope(self._names, model)
        given = self._given if scope.tidy else self._root.inputs
        return self._model(self._root, model, model.name, scope, given)

    def _record_of_model(self, model):
        try:
            if id(model) in self._refused:
                raise recording.CannotUnfold(self._refused[id(model)])
            given = self._given = _inputs(model)
            record = recording.of_call(model, [given], {})
        except recording.CannotUnfold as error:
            raise ValueError(
                "A subclassed model has no graph to follow, and this one "
                f"cannot be unfolded: {error}. Build it as "
                "keras.Model(inputs, outputs), or call its layers on "
                "keras.Input(...) once and wrap the result. "
                f"Received: model={model.name!r} ({type(model).__name__})"
            ) from error
        return record._replace(
            inputs=tree.pack_sequence_as(given, record.inputs)
        )

    def _model(self, record, layer, name, scope, given):
        """A functional model of a record, made of views."""
        new = {}
        flat = tree.flatten(given)
        for t, real in zip(tree.flatten(record.inputs), flat, strict=False):
            source = t._keras_history.operation
            config = source.get_config()
            config["batch_shape"] = (real.shape[0], *t.shape[1:])
            entering = type(source).from_config(config)
            scope.admit(entering)
            new[id(t)] = entering.output
        for node in record.nodes:
            if not node.is_input:
                args, kwargs = node.arguments.fill_in(new)
                outputs = self._call(node, args, kwargs, scope)
                flat = tree.flatten(outputs)
                new.update(zip(map(id, node.outputs), flat, strict=True))
        inputs, outputs = (
            tree.map_structure(lambda t: new[id(t)], structure)
            for structure in (record.inputs, record.outputs)
        )
        made = keras.Model(inputs, outputs, name=name)
        # The setter would freeze variables that the layer may train.
        made._trainable = layer.trainable
        return made

    def _call(self, node, args, kwargs, scope):
        operation, refusal = node.operation, None
        given = recording.tensors((args, kwargs))
        if recording.foldable(operation):
            try:
                inside = self._open(operation, args, kwargs, scope)
                self._inside[id(node)] = inside
                return _called(*inside, given, kwargs.get("training"))
            except recording.CannotUnfold as error:
                refusal = error
        if scope.tidy and type(operation) is keras.layers.Identity:
            return given
        built = self._built.get(id(operation))
        if built is None:
            name = scope.name_of(operation)
            if graph.is_graph(operation):
                record = recording.of_graph(operation)
                inside = _Scope(self._names, tidy=scope.tidy)
                built = self._model(record, operation, name, inside, given)
            else:
                built = recording.view(operation, name=name)
            self._built[id(operation)] = built
        scope.admit(built)
        if refusal is not None:
            self._refused[id(operation)] = str(refusal)
            self.whole[id(built)] = str(refusal)
            if refusal.passes:
                self.passing.add(id(built))
        return built(*args, **kwargs)

    def _open(self, layer, args, kwargs, scope):
        """(record, model of it) of one call of a layer."""
        if id(layer) in self._refused:
            raise recording.CannotUnfold(self._refused[id(layer)])
        key = id(layer), recording.signature(args, kwargs)
        if key not in self._opened:
            record = recording.of_call(layer, args, kwargs)
            model = None
            if record.nodes:
                name = scope.name_of(layer)
                inside = _Scope(self._names, layer)
                given = recording.tensors((args, kwargs))
                model = self._model(record, layer, name, inside, given)
            self._opened[key] = record, model
        record, model = self._opened[key]
        if model is not None:
            scope.admit(model)
        return record, model

    def culprits(self, model, made):
        """{id: why} of unfolded layers that compute something else.

        Args:
            model: The model that was unfolded.
            made: What came out.
        """
        is_graph = graph.is_graph(model)
        if is_graph and not self._opened:
            return {}
        rng = np.random.default_rng(0)
        weights = [(v, _moved(v, rng)) for v in model.weights if _is_float(v)]
        with keras.StatelessScope(state_mapping=weights):
            try:
                inputs, expected = _tried(model, made, rng)
            except recording.CannotUnfold as error:
                if is_graph:
                    return {key: str(error) for key, _ in self._opened}
                raise ValueError(
                    "A subclassed model is unfolded, which needs to run it: "
                    f"{error}. Received: model={model.name!r}"
                ) from error
            why = _difference(expected, lambda: made(inputs, training=False))
            if why is None:
                return {}
            found = self._culprits_in(self._root, tree.flatten(inputs))
        if is_graph:
            # If none is to blame, the model draws numbers by itself.
            return found
        return found or {id(model): why}

    def _culprits_in(self, record, given):
        """`culprits` of the calls of a record, for values of its inputs."""
        found = {}
        values = dict(
            zip(map(id, tree.flatten(record.inputs)), given, strict=False)
        )
        for node in record.nodes:
            if node.is_input:
                continue
            operation, arguments = node.operation, node.arguments
            args, kwargs = arguments.fill_in(values)
            if isinstance(operation, keras.layers.Layer):
                kwargs = {"training": False, **kwargs}
            try:
                outputs = tree.flatten(operation(*args, **kwargs))
            except Exception:
                # What was recorded on symbolic tensors cannot be run.
                return found
            values.update(zip(map(id, node.outputs), outputs, strict=True))
            given = [values[id(t)] for t in arguments.keras_tensors]
            if graph.is_graph(operation):
                inner = recording.of_graph(operation)
                found.update(self._culprits_in(inner, given))
            elif id(node) in self._inside:
                inner, built = self._inside[id(node)]
                training = kwargs["training"]
                call = functools.partial(_called, inner, built, given, training)
                why = _difference(outputs, call)
                if why is not None:
                    inside = self._culprits_in(inner, given)
                    found.update(inside or {id(operation): why})
        return found


class _Scope:
    """The names of the layers in one model.

    Args:
        taken: The names in all models, a set to which names are added.
        layer: The layer that the model is the inside of. Its layers are named
            as the attributes that hold them, unless they have a name of
            their own. Defaults to `None`.
        tidy: Whether names that Keras made up, "conv2d_17", are counted anew.
            Defaults to `False`; with a `layer` they always are.
    """

    def __init__(self, taken, layer=None, tidy=False):
        self.tidy = tidy or layer is not None
        self._taken = taken
        self._mine = {}
        self._attributes = {} if layer is None else _attributes(layer)

    def name_of(self, operation):
        """A name for a layer that comes into the model."""
        name = operation.name
        if self.tidy:
            plain = re.sub(r"(_\d+)?$", "", name, count=1)
            kind = type(operation).__name__.lower()
            if plain.replace("_", "") == kind:
                name = self._attributes.get(id(operation), plain)
        return graph.unused(name, self._mine)

    def admit(self, view):
        """Says that a layer is in the model; renames it if that must be."""
        holder = self._mine.get(view.name)
        if holder is not None and holder is not view:
            view.name = graph.unused(view.name, self._taken)
        self._mine[view.name] = view
        self._taken.add(view.name)


def _attributes(layer):
    """{id of a layer inside: name of the attribute that holds it}."""
    found = {}
    # Names in public come first: Keras keeps lists of its own in private.
    for key in sorted(vars(layer), key=lambda key: key.startswith("_")):
        if key not in _OF_KERAS:
            _name_layers(key.strip("_"), vars(layer)[key], found)
    return found


_OF_KERAS = (
    "_layers",
    "_operations",
    "_operations_by_depth",
    "_self_unconditional_dependency_names",
)


def _name_layers(name, value, found):
    if isinstance(value, keras.layers.Layer):
        found.setdefault(id(value), name.replace("/", "_"))
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            _name_layers(f"{name}_{i}", part, found)
    elif isinstance(value, dict):
        for key, part in value.items():
            _name_layers(f"{name}_{key}", part, found)


def _inputs(model):
    """Symbolic inputs for a model without a graph, as it was built."""
    if getattr(model, "inputs", None):
        return tree.map_structure(
            lambda t: keras.Input(
                batch_shape=t.shape, dtype=t.dtype, name=t.name
            ),
            model.input,
        )
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if len(shapes) != 1:
        raise recording.CannotUnfold(
            "it was not built on one input, which may be nested"
        )
    (shapes,) = shapes.values()
    return _inputs_like(shapes, model.input_dtype, "input")


def _inputs_like(shapes, dtype, name):
    if isinstance(shapes, dict):
        return {k: _inputs_like(v, dtype, k) for k, v in shapes.items()}
    if all(n is None or isinstance(n, int) for n in shapes):
        return keras.Input(tuple(shapes[1:]), dtype=dtype, name=name)
    return [_inputs_like(v, dtype, f"{name}_{i}") for i, v in enumerate(shapes)]


def _called(record, model, given, training):
    """What the model of a record gives, in the order of its outputs."""
    if model is None:
        known = dict(zip(map(id, record.inputs), given, strict=True))
        return [known[id(t)] for t in tree.flatten(record.outputs)]
    inputs = given if len(given) > 1 else given[0]
    return model(inputs, training=training)


def _tried(model, made, rng):
    """(inputs, outputs) of a model, at the first sizes that it takes."""
    batches = graph.batch_sizes(graph.calls(made), 2)
    for batch, free in itertools.product(batches, (64, 32, 16, 8, 4)):
        inputs = [_sample(t, batch, free, rng) for t in made.inputs]
        inputs = tree.pack_sequence_as(made.input, inputs)
        try:
            return inputs, model(inputs, training=False)
        except Exception as error:
            failure = error
    raise recording.CannotUnfold(
        "the model cannot be run on random inputs, which unfolding needs: "
        f"{recording.first_line(failure)}"
    ) from failure


def _sample(t, batch, free, rng):
    """Random samples of an input.

    Args:
        t: The symbolic input.
        batch: How many samples.
        free: How large its free sizes are.
        rng: A NumPy generator.
    """
    shape = [batch, *(n or free for n in t.shape[1:])]
    if keras.backend.is_float_dtype(t.dtype):
        return rng.normal(size=shape).astype("float32")
    if t.dtype == "string":
        return np.zeros(shape, "str")
    return rng.integers(0, 2, shape).astype(t.dtype)


def _moved(variable, rng):
    """A weight's value, moved a little: positive ones stay positive."""
    value = ops.convert_to_numpy(variable).astype("float32")
    factors = rng.uniform(0.9, 1.1, value.shape)
    return factors * value + rng.uniform(0.01, 0.05, value.shape)


def _is_float(variable):
    return keras.backend.is_float_dtype(variable.dtype)


def _difference(expected, call):
    """Why a call does not give what is expected; None if it does."""
    try:
        got = tree.flatten(call())
    except Exception as error:
        return f"what it calls cannot be run: {recording.first_line(error)}"
    for a, b in zip(tree.flatten(expected), got, strict=True):
        a, b = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (a, b))
        close = 1e-4 * (np.abs(a).max(initial=0) or 1)
        if a.shape != b.shape or not np.allclose(
            a, b, 0, close, equal_nan=True
        ):
            return (
                "the calls on record compute something else, as with weights "
                "that it reads itself or numbers that it draws"
            )
    return None
