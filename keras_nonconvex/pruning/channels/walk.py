"""`Walk`: one pass over a model's graph, and what a rule may call on it."""

import collections
import contextlib

import keras
import numpy as np
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.space import ChannelSpace

# An axis of a weight that is indexed by channels. Roles: "filter" makes the
# channel, "bias" and "shift" are added to it, "scale" multiplies it, "state"
# belongs to it, "input" reads it, "inner" reads it inside of the layer.
Use = collections.namedtuple("Use", "layer variable axis ids role")

# A call whose input is narrowed: of the channels `given` on `axis` only
# `chosen` enter, pairwise.
Gather = collections.namedtuple("Gather", "axis given chosen")


class Walk(ChannelSpace):
    """Gives every tensor of a model its channel ids, call by call.

    The rule of each layer is called with the walk, and declares through it
    which channels the layer makes, ties, reads and holds in its weights.

    Attributes:
        model: The functional form of the model.
        calls: The calls of its layers, in order; nested models are followed.
        call: The call at hand.
        shapes: The output shapes of the call at hand, batch axis included.
        given: The symbolic input tensors of the call at hand, masks left out.
        outputs: The symbolic tensors that the model returns.
        nested: The calls of nested models.
        not_followed: Ids of the layers that their rule gave up on.
        uses: All weight axes that are channels.
        tensors: id of a symbolic tensor -> its `Tensor`.
        layers: Layer name -> layer, in order; "model/layer" if nested.
        names: id of a layer -> its name.
        made: Layer name -> ids of the channels that it makes.
        gathers: {call: `Gather`}, where a normalization chooses channels.
        arrays: {call: {(argument, axis): ids}}, arrays among the arguments
            that have channels of their own.
        mixing: (call, ids) where each channel changes what the others become.
        zeros_needed: (call, ids) where a removed channel has to be zero.
    """

    def __init__(self, model, select=False):
        super().__init__()
        self.model = graph.functional(model)
        self.calls, self.outputs, self.nested = graph.flattened(self.model)
        self.select = select
        self.uses = []
        self.tensors = {}
        self.layers = {}
        self.names = {}
        self.made = collections.defaultdict(list)
        self.gathers = {}
        self.not_followed = set()
        self.arrays = {}
        self.mixing = []
        self.zeros_needed = []
        self._known = {}
        self._first = {}
        self._makers = {}
        self._readers = collections.Counter(
            id(t) for call in self.calls for t in call.inputs
        )
        self._calls_of = collections.Counter(
            id(call.operation) for call in self.calls
        )
        for call in self.calls:
            self._visit(call)
        self._tie_nested_inputs()
        for tensor in self.outputs:
            for ids in self.tensors[id(tensor)].axes:
                self.freeze(ids, "model output")

    # What rules call.

    def make(self, count):
        """Ids of `count` channels that the layer at hand makes."""
        ids = self.new(count)
        name = self.names[id(self.call.operation)]
        if self._again:
            earlier = self.made[name][self._makes]
            self._makes += 1
            self.tie(ids, earlier)
            return earlier
        self.made[name].append(ids)
        return ids

    def use(self, layer, weight, axis, ids, role):
        """Declares that `axis` of a layer's weight is indexed by `ids`.

        Called again for the same axis (a shared layer), it ties the ids with
        the first ones. None stands for positions: what else is read there by
        the same layer has to stay.

        Args:
            layer: The layer.
            weight: One of its variables, or the name of the attribute.
            axis: Axis of that weight.
            ids: One id per index.
            role: See `Use`.
        """
        variable = getattr(layer, weight) if isinstance(weight, str) else weight
        axis %= len(variable.shape)
        known = self._known.get((id(variable), axis))
        if ids is None:
            if known is not None:
                self.freeze(known, f"'{layer.name}' is also read elsewhere")
            elif self._calls_of[id(self.call.operation)] > 1:
                self._known[id(variable), axis] = self.stuck(
                    variable.shape[axis], f"'{layer.name}' reads what must stay"
                )
            return
        if known is not None:
            self.tie(known, ids)
            return
        self._known[id(variable), axis] = ids
        self.uses.append(Use(self.call.operation, variable, axis, ids, role))

    def stuck(self, count, reason):
        """Fresh ids that have to stay."""
        ids = self.new(count)
        self.freeze(ids, reason)
        return ids

    def tied(self, meeting, layer):
        """Ties what meets on one axis; None where there is no channel."""
        known = [ids for ids in meeting if ids is not None]
        for ids in known[1:]:
            self.tie(known[0], ids)
        if len(known) < len(meeting) and known:
            self.freeze(known[0], f"'{layer.name}' joins it with positions")
        return known[0] if known else None

    def comparable(self, inputs, layer):
        """The inputs, with ids that must stay where only others have some."""
        labelled = {axis for x in inputs for axis in x.labelled}
        return [
            rules.Tensor(
                x.shape,
                tuple(
                    self.stuck(x.shape[axis], f"'{layer.name}' joins it")
                    if ids is None and axis in labelled and x.shape[axis]
                    else ids
                    for axis, ids in enumerate(x.axes)
                ),
            )
            for x in inputs
        ]

    def mixes(self, x, axis):
        """Says that each channel of an axis changes what the others become."""
        if x.axes[axis] is not None:
            self.mixing.append((self.call, x.axes[axis]))

    def needs_zero(self, ids):
        """Says that a removed channel has to be zero here, not a constant."""
        if ids is not None:
            self.zeros_needed.append((self.call, ids))

    def selected(self, x, axis):
        """What enters a normalization that may choose among channels."""
        ids = x.axes[axis]
        (tensor,) = self.call.inputs[:1]
        made_here = self._makers.get(id(tensor)) in self.made
        alone = self._readers[id(tensor)] == 1
        if not self.select or ids is None or (made_here and alone):
            return x
        self.freeze(ids, "its readers select from it")
        chosen = self.make(len(ids))
        key = (id(self.call.node), self.call.path)
        self.gathers[key] = Gather(axis, ids, chosen)
        return x.with_ids(chosen, axis)

    def cut_arrays(self, out):
        """Says that arrays among the arguments have the output's channels."""
        arguments = self.call.node.arguments
        key = (id(self.call.node), self.call.path)
        leaves = tree.flatten((arguments.args, arguments.kwargs))
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, keras.KerasTensor):
                continue
            for axis, size in enumerate(np.shape(leaf)[::-1], start=1):
                if size > 1 and out.axes[-axis] is not None:
                    self.arrays.setdefault(key, {})[i, -axis] = out.axes[-axis]

    def argument(self, position, key=None):
        """An argument of the call at hand, None if it was not given."""
        arguments = self.call.node.arguments
        if key in arguments.kwargs:
            return arguments.kwargs[key]
        args = arguments.args
        return args[position] if position < len(args) else None

    @contextlib.contextmanager
    def without_time(self):
        """A scope in which output shapes have no second axis."""
        full = self.shapes
        self.shapes = [shape[:1] + shape[2:] for shape in full]
        try:
            yield
        finally:
            self.shapes = full

    # The walk.

    def _visit(self, call):
        self.call = call
        operation = call.operation
        inputs = [self.tensors[id(t)] for t in call.inputs]
        self.shapes = [tuple(t.shape) for t in call.outputs]
        name = self.names.setdefault(id(operation), graph.name(call))
        if isinstance(operation, keras.layers.InputLayer):
            outputs = self._frozen([], "model input")
        else:
            self._again = id(operation) in self._first
            self._makes = 0
            if isinstance(operation, keras.layers.Layer):
                self.layers[name] = operation
            inputs = self._without_masks(call, inputs)
            outputs = self._followed(operation, inputs)
            self._tie_with_first_call(operation, inputs, outputs)
        for tensor, output in zip(call.outputs, outputs, strict=True):
            self.tensors[id(tensor)] = output
            self._makers[id(tensor)] = name

    def _without_masks(self, call, inputs):
        """The inputs but those that are masks; these have to stay."""
        masks = {
            id(t)
            for key, value in call.node.arguments.kwargs.items()
            for t in tree.flatten(value)
            if "mask" in key and isinstance(t, keras.KerasTensor)
        }
        pairs = list(
            zip(call.node.arguments.keras_tensors, inputs, strict=True)
        )
        for old, x in pairs:
            for ids in x.axes if id(old) in masks else ():
                self.freeze(ids, f"'{call.operation.name}' is masked by it")
        pairs = [(old, x) for old, x in pairs if id(old) not in masks]
        # The symbolic tensors that the inputs are, as the call has them.
        self.given = [old for old, _ in pairs]
        return [x for _, x in pairs]

    def _followed(self, operation, inputs):
        """The outputs of one call, by the rule of its layer."""
        rule = rules.find(operation)
        try:
            if rule is None:
                raise rules.CannotFollow(
                    f"no rule for {type(operation).__name__} '{operation.name}'"
                )
            for setting in ("lora_enabled", "quantization_mode"):
                if getattr(operation, setting, None):
                    raise rules.CannotFollow(
                        f"'{operation.name}' has {setting} set"
                    )
            found = rule.channels(operation, inputs, self)
        except rules.CannotFollow as error:
            self.not_followed.add(id(operation))
            return self._frozen(inputs, str(error))
        found = found if isinstance(found, list) else [found]
        outputs = [
            output
            if isinstance(output, rules.Tensor)
            else rules.positions(shape).with_ids(np.asarray(output))
            for output, shape in zip(found, self.shapes, strict=True)
        ]
        return [
            self._checked(output, shape, operation)
            for output, shape in zip(outputs, self.shapes, strict=True)
        ]

    def _frozen(self, inputs, reason):
        """Freezes the inputs; outputs with channels that have to stay."""
        for x in inputs:
            for ids in x.axes:
                self.freeze(ids, reason)
        return [
            rules.positions(shape).with_ids(self.stuck(shape[-1], reason))
            if len(shape) > 1 and shape[-1]
            else rules.positions(shape)
            for shape in self.shapes
        ]

    def _checked(self, output, shape, operation):
        """The output with the shape that Keras gives it."""
        axes = []
        for ids, size in zip(output.axes, shape, strict=True):
            if ids is not None and len(ids) != size:
                self.freeze(
                    ids, f"'{operation.name}' has an output of unknown size"
                )
                ids = None
            axes.append(ids)
        return rules.Tensor(tuple(shape), tuple(axes))

    def _tie_with_first_call(self, operation, inputs, outputs):
        """One layer has one size: its calls are cut alike."""
        first = self._first.setdefault(id(operation), (inputs, outputs))
        rule = rules.find(operation) or rules.Rule()
        fixed = type(rule).resized is rules.Rule.resized
        if first[0] is inputs or fixed or getattr(operation, "weights", ()):
            return
        self._tie_tensors(
            [*first[0], *first[1]], [*inputs, *outputs], operation
        )

    def _tie_nested_inputs(self):
        """A nested model has inputs of one size, however often it is called."""
        first = {}
        for call in self.nested:
            operation = call.node.operation
            tensors = [self.tensors[id(t)] for t in call.inputs]
            earlier = first.setdefault(id(operation), tensors)
            if earlier is not tensors:
                self._tie_tensors(earlier, tensors, operation)

    def _tie_tensors(self, earlier, later, operation):
        for before, now in zip(earlier, later, strict=True):
            pairs = _sized(before), _sized(now)
            if [len(ids) for ids in pairs[0]] == [len(i) for i in pairs[1]]:
                for a, b in zip(*pairs, strict=True):
                    self.tie(a, b)
            else:
                for ids in (*pairs[0], *pairs[1]):
                    self.freeze(
                        ids, f"'{operation.name}' has calls of two sizes"
                    )


def _sized(x):
    """The ids of a tensor's labelled axes."""
    return [x.axes[axis] for axis in x.labelled]
