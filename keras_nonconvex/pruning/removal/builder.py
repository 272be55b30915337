"""Builds the masked and the small model from kept classes."""

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.removal import remaking
from keras_nonconvex.pruning.removal.choices import Choices

_ZEROED = "filter bias scale shift input inner through".split()


def masked_values(trace, zeroed):
    """The weights of a model with some classes of channels set to zero.

    The weights that make such a channel become zero, and those that read it.

    Args:
        trace: A `Trace`.
        zeroed: One bool per channel id, read at the class roots.

    Returns:
        {id of a variable: array}, of those that change.
    """
    values, whole = {}, set()
    for use in trace.of_role(*_ZEROED):
        dropped = zeroed[trace.root_of[use.ids]]
        variable, key = use.variable, id(use.variable)
        if key in whole or not dropped.any():
            continue
        if dropped.all():
            # It need not be read, nor written out: large models take long.
            values[key] = np.broadcast_to(
                np.zeros((), variable.dtype), tuple(variable.shape)
            )
            whole.add(key)
            continue
        if key not in values:
            array = ops.convert_to_numpy(variable)
            own = array.flags.owndata and array.flags.writeable
            values[key] = array if own else array.copy()
        use.clear(values[key], dropped)
    return values


class Builder:
    """Builds a plain functional model from a trace, call by call.

    Args:
        trace: The channel graph.
        keep: One bool per channel id; None to cut nothing.
        values: {id of a variable: its new values, not cut yet}.
        new_biases: {id of a layer without bias: the bias it gets}.
        bypassed: {(id of a node, path): {position of an input: what is added
            in its place}}.

    Attributes:
        pairs: (old variable, new variable), once the model is built.
    """

    def __init__(
        self, trace, keep=None, values=None, new_biases=None, bypassed=None
    ):
        self.trace = trace
        self.keep = np.ones(len(trace), bool) if keep is None else keep
        self.values = values or {}
        self.new_biases = new_biases or {}
        self.bypassed = bypassed or {}
        self._choices = Choices(trace, self.keep, self._name)
        self._calls = {(id(c.node), c.path): c for c in trace.calls}
        self._uses = {}
        for use in trace.uses:
            self._uses.setdefault(id(use.variable), []).append(use)
        self.pairs = []
        self._built = {}
        # By identity. A layer that another one has in its config may be made
        # before it is called: it gets its weights when it is.
        self._held = {}
        self._filled = set()
        self._names = {c.operation.name for c in trace.calls}
        self._names |= {n.node.operation.name for n in trace.nested}

    def build(self):
        """The new model. A builder builds once."""
        model = self._model(self.trace.model, (), [])
        own = {id(v) for v in model.variables}
        for name, layer in self.trace.layers.items():
            if any(id(v) in own for v in layer.variables):
                raise ValueError(
                    f"Layer '{name}' cannot be made anew: its copy has the "
                    "same variables. "
                    f"Received: {type(layer).__name__}"
                )
        return model

    def cut(self, variable, array):
        """What stays of an array that has a variable's shape.

        Args:
            variable: A weight of the old model.
            array: An array of its shape.
        """
        for use in self._uses.get(id(variable), []):
            array = use.cut(array, self.trace.stays(self.keep, use.ids))
        return array

    def _model(self, model, path, given):
        """One model; nested models are rebuilt as their calls come.

        Args:
            model: The old one.
            path: The nodes of the models around it.
            given: The tensors that a nested model gets.
        """
        model = graph.functional(model)
        entering = dict(zip(map(id, model.inputs), given, strict=False))
        tensors = {}
        for node in self._needed(model, path):
            if node.is_input:
                (old,) = node.outputs
                tensors[id(old)] = remaking.new_input(
                    node, entering.get(id(old), old)
                )
                continue
            outputs = self._call(node, path, tensors)
            for old, new in zip(
                node.outputs, tree.flatten(outputs), strict=True
            ):
                tensors[id(old)] = new
        inputs, outputs = (
            tree.map_structure(lambda t: tensors[id(t)], struct)
            for struct in (model.input, model.output)
        )
        built = keras.Model(inputs, outputs, name=model.name)
        # Setting it to True would thaw the model's frozen layers.
        if not model.trainable:
            built.trainable = False
        return built

    def _needed(self, model, path):
        """The nodes that the outputs depend on, and all inputs."""
        wanted = {id(t) for t in model.outputs}
        needed = []
        for node in reversed(list(graph.nodes(model))):
            if node.is_input or any(id(t) in wanted for t in node.outputs):
                needed.append(node)
                key = (id(node), path)
                gone = self.bypassed.get(key, {})
                source = self._choices.source(key)
                read = _read(node) if source is None else [source]
                wanted.update(
                    id(t) for i, t in enumerate(read) if i not in gone
                )
        return reversed(needed)

    def _call(self, node, path, tensors):
        """The outputs of the new layer for one call of an old one."""
        operation, key = node.operation, (id(node), path)
        if key in self.bypassed:
            return self._without_dead(node, key, tensors)
        tensors = self._choices.narrowed(node, key, tensors)
        picked = self._choices.picked(node, key, tensors)
        if picked is not None:
            return picked
        args, kwargs = node.arguments.fill_in(tensors)
        repeated = graph.model_in_time(node)
        if repeated is not None:
            return self._over_time(node, repeated, path, tensors)(
                *args, **kwargs
            )
        if graph.is_graph(operation):
            given = [tensors[id(t)] for t in graph.entering(node)]
            if id(operation) not in self._built:
                self._built[id(operation)] = self._model(
                    operation, (*path, node), given
                )
            # As it was made: a dict of more than its inputs is not needed.
            made = graph.functional(operation).input
            args = (tree.pack_sequence_as(made, given), *args[1:])
            kwargs.pop("inputs", None)
            return self._built[id(operation)](*args, **kwargs)
        args, kwargs = tree.map_structure(self._own_variable, (args, kwargs))
        for (i, axis), ids in self.trace.arrays.get(key, {}).items():
            flat = tree.flatten((args, kwargs))
            stays = self.trace.stays(self.keep, ids)
            flat[i] = np.compress(stays, np.asarray(flat[i]), axis=axis)
            args, kwargs = tree.pack_sequence_as((args, kwargs), flat)
        return self._new_call(operation, key, args, kwargs)

    def _over_time(self, node, model, path, tensors):
        """The new TimeDistributed in place of the one that a model is in."""
        old = node.operation
        if id(old) not in self._built:
            given = tensors[id(node.arguments.keras_tensors[0])]
            step = (given.shape[0], *given.shape[2:])
            if id(model) not in self._built:
                self._built[id(model)] = self._model(
                    model, (*path, node), [keras.KerasTensor(step, given.dtype)]
                )
            self._built[id(old)] = keras.layers.TimeDistributed(
                self._built[id(model)],
                name=old.name,
                trainable=old.trainable,
                dtype=old.dtype_policy,
            )
        return self._built[id(old)]

    def _own_variable(self, value):
        """An argument; the new variable in place of an old one."""
        if not isinstance(value, keras.Variable):
            return value
        for old, new in self.pairs:
            if old is value:
                return new
        raise ValueError(
            "A weight that is an argument of an operation must be of a layer "
            "that is called earlier. "
            f"Received: {value.path!r}"
        )

    def _new_call(self, operation, key, args, kwargs):
        new = self._built.get(id(operation))
        if new is None:
            same = remaking.identity(operation)
            new = self._held.get(same)
            if new is None or id(new) in self._filled:
                new = self._resized(operation, key)
            self._built[id(operation)] = new
            self._held.setdefault(same, new)
        outputs = new(*args, **kwargs)
        if id(new) not in self._filled:
            self._filled.add(id(new))
            remaking.build_activation(operation, new, outputs)
            self._set_weights(operation, new, key)
        return outputs

    def _without_dead(self, node, key, tensors):
        """What an Add or Concatenate gives without its dead inputs."""
        operation, gone = node.operation, self.bypassed[key]
        left = [
            tensors[id(t)]
            for i, t in enumerate(node.arguments.keras_tensors)
            if i not in gone
        ]
        if len(left) == 1:
            (total,) = left
        elif _is_layer(operation) or len(node.arguments.args) == 1:
            total = self._new_call(operation, key, (left,), {})
        else:
            total = self._new_call(operation, key, left, {})
        for value in gone.values():
            if value is not None:
                total = ops.add(total, value)
                self._name(total, f"{operation.name}_constant")
        return total

    def _name(self, tensor, name):
        """Gives a new operation a name that the model does not have yet."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        tensor._keras_history.operation.name = name

    def _resized(self, operation, key):
        """A new layer of the size that is left."""
        rule = self._rule(operation)
        changes = {}
        if rule is not None:
            cut = self._cut(operation, key)
            other = rule.replaced(operation, cut, self._name)
            if other is not None:
                return other
            changes = rule.resized(operation, cut)
        if not isinstance(operation, keras.layers.Layer):
            return remaking.copy_of_operation(operation, changes)
        if id(operation) in self.new_biases:
            more = remaking.with_bias(operation)
            changes = remaking.merged(changes, more)
        return remaking.remade(operation, changes, self._held)

    def _rule(self, operation):
        """The rule by which a layer gets smaller, None if it does not."""
        if self.keep.all() or id(operation) in self.trace.not_followed:
            return None
        return rules.find(operation)

    def _cut(self, operation, key):
        call = self._calls[key]

        def kept(tensor):
            x = self.trace.tensors[id(tensor)]
            return rules.Kept(
                tuple(tensor.shape),
                tuple(self.trace.stays(self.keep, ids) for ids in x.axes),
            )

        weights = {}
        for variable in operation.weights if _is_layer(operation) else ():
            masks = [None] * len(variable.shape)
            for use in self._uses.get(id(variable), []):
                masks[use.axis] = use.mask(self.trace.stays(self.keep, use.ids))
            part = rules.Kept(tuple(variable.shape), tuple(masks))
            weights[variable.name] = weights[variable.path] = part
        inputs = [kept(t) for t in call.inputs]
        if key in self.trace.gathers:
            inputs[0] = kept(call.outputs[0])
        return rules.Cut(inputs, [kept(t) for t in call.outputs], weights)

    def _set_weights(self, old, new, key):
        if not _is_layer(old):
            return
        if not new.weights:
            remaking.copy_state(old, new)
            return
        weights = [
            self.cut(v, self.values.get(id(v), ops.convert_to_numpy(v)))
            for v in old.weights
        ]
        rule = self._rule(old)
        if rule is not None:
            names = [v.name for v in old.weights]
            changed = rule.rescaled(
                old,
                self._cut(old, key),
                dict(zip(names, weights, strict=True)),
            )
            weights = [
                changed.get(name, w)
                for name, w in zip(names, weights, strict=True)
            ]
        if id(old) in self.new_biases:
            added = rules.inmost(new).bias
            place = [w is added for w in new.weights].index(True)
            bias = self.new_biases[id(old)].reshape(added.shape)
            weights.insert(place, bias)
        if len(weights) != len(new.weights):
            raise ValueError(
                f"Layer '{old.name}' cannot be made anew from its config: it "
                f"has {len(weights)} weights, and one made anew has "
                f"{len(new.weights)}. Received: {type(old).__name__}"
            )
        new.set_weights(weights)
        remaking.copy_state(old, new)
        self.pairs += [
            (v, mine)
            for v, mine in zip(old.weights, new.weights, strict=False)
            if id(old) not in self.new_biases
        ]


def _read(node):
    """The symbolic tensors that a call depends on."""
    if graph.is_graph(node.operation):
        masks = tree.flatten(node.arguments.kwargs.get("mask"))
        masks = [t for t in masks if isinstance(t, keras.KerasTensor)]
        return [*graph.entering(node), *masks]
    return node.arguments.keras_tensors


def _is_layer(operation):
    return isinstance(operation, keras.layers.Layer)
