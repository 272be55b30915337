"""Unfolding: own layers and subclassed models as graphs of Keras layers."""

import collections
import functools

import keras
import numpy as np
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex.unfolding import naming
from keras_nonconvex.unfolding import recording
from keras_nonconvex.unfolding import trial

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
            scope = naming.Scope(self._names)
        else:
            self._root = self._record_of_model(model)
            scope = naming.Scope(self._names, model)
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
                return trial.called(*inside, given, kwargs.get("training"))
            except recording.CannotUnfold as error:
                refusal = error
        if scope.tidy and type(operation) is keras.layers.Identity:
            return given
        built = self._built.get(id(operation))
        if built is None:
            name = scope.name_of(operation)
            if graph.is_graph(operation):
                record = recording.of_graph(operation)
                inside = naming.Scope(self._names, tidy=scope.tidy)
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
                inside = naming.Scope(self._names, layer)
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
        weights = [
            (v, trial.moved(v, rng)) for v in model.weights if trial.is_float(v)
        ]
        with keras.StatelessScope(state_mapping=weights):
            try:
                inputs, expected = trial.tried(model, made, rng)
            except recording.CannotUnfold as error:
                if is_graph:
                    return {key: str(error) for key, _ in self._opened}
                raise ValueError(
                    "A subclassed model is unfolded, which needs to run it: "
                    f"{error}. Received: model={model.name!r}"
                ) from error
            why = trial.difference(
                expected, lambda: made(inputs, training=False)
            )
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
                call = functools.partial(
                    trial.called, inner, built, given, training
                )
                why = trial.difference(outputs, call)
                if why is not None:
                    inside = self._culprits_in(inner, given)
                    found.update(inside or {id(operation): why})
        return found


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
