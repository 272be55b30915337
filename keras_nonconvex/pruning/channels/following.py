"""`Pass`: follows channels through a model, layer by layer."""

import keras
import numpy as np
from keras import tree

from keras_nonconvex import graph
from keras_nonconvex import unfolding
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.walk import Walk

# How many further passes are made at most to find axes for channels.
_PASSES = 8


def follow(model, select=False):
    """The `Pass` through a model that leaves most to remove.

    A Reshape may hand its channels to several axes, of which one has them
    from then on. Where that one has to stay, the others are tried.

    Args:
        model: A built functional or Sequential model, or one that unfolds.
        select: As in `Pass`. Defaults to `False`.
    """
    unfolded = unfolding.unfold(model)
    best, tried = Pass(unfolded, select), set()
    for _ in range(_PASSES):
        left = [c for c in best.alternatives() if c not in tried]
        if not left:
            break
        tried.add(left[0])
        other = Pass(unfolded, select, {**best.chosen, **dict(left[:1])})
        if other.free().sum() > best.free().sum():
            best = other
    return best


class Pass:
    """Calls the rule of every layer of a model, in order.

    Attributes:
        walk: The `Walk` that the rules were given.
        model: The functional form of the model; own layers are unfolded.
        whole: {id of an own layer that is not unfolded: why}.
        calls: The calls of its layers, in order; nested models are followed.
        outputs: The symbolic tensors that the model returns.
        nested: The calls of nested models.
        tensors: {id of a symbolic tensor: its `Tensor`}.
        layers: {layer name: layer}, in order; "model/layer" if nested.
        not_followed: {id of a layer that no rule follows: why}.

    Args:
        unfolded: The `Unfolded` model.
        select: Whether a normalization may choose among its input's channels.
            Defaults to `False`.
        chosen: As in `Walk`. Defaults to `None`.
    """

    def __init__(self, unfolded, select=False, chosen=None):
        self.model, self.whole, self._passing = unfolded
        self.calls, self.outputs, self.nested = graph.flattened(
            self.model, in_time=True
        )
        self.chosen = chosen or {}
        inside = [t for call in self.nested for t in call.outputs]
        returned = [*self.outputs, *inside]
        self.walk = Walk(self.calls, returned, select, self.chosen)
        self.tensors = {}
        self.layers = {}
        self.not_followed = {}
        self._first = {}
        for call in self.calls:
            outputs = self._outputs(call, self.walk.enter(call))
            for tensor, output in zip(call.outputs, outputs, strict=True):
                self.tensors[id(tensor)] = output
        self._tie_nested_inputs()
        self._freeze_other_calls()
        self.walk.freeze_held()
        for tensor in self.outputs:
            self._freeze_all([self.tensors[id(tensor)]], "model output")
        self.walk.balance_groups()

    def free(self):
        """One bool per id, whether it is the root of a class that may go."""
        free = np.zeros(len(self.walk), dtype=bool)
        for arrays in self.walk.made.values():
            for ids in arrays:
                free[self.walk.roots(ids)] = True
        free[list(self.walk.frozen())] = False
        return free

    def alternatives(self):
        """(call, axis) of what else may be chosen where what is has to stay."""
        free = self.free()
        arrays = [ids for made in self.walk.made.values() for ids in made]
        made = self.walk.roots(np.concatenate([np.arange(0), *arrays]))
        for call in self.calls:
            key = id(call.node), call.path
            if key not in self.walk.choices:
                continue
            (given,), (got, *_) = (
                [self._roots(t) for t in tensors]
                for tensors in (call.inputs[:1], call.outputs)
            )
            if np.isin(given, made).any() and not free[got].any():
                yield from ((key, axis) for axis in self.walk.choices[key])

    def _roots(self, tensor):
        """The roots of all channels of a tensor."""
        x = self.tensors[id(tensor)]
        ids = [x.axes[axis] for axis in x.labelled]
        return self.walk.roots(np.concatenate([np.arange(0), *ids]))

    def _outputs(self, call, name):
        """One `Tensor` per output of a call."""
        operation = call.operation
        if isinstance(operation, keras.layers.InputLayer):
            return self._frozen([], "model input")
        if isinstance(operation, keras.layers.Layer):
            self.layers[name] = operation
        inputs = self._without_masks(call)
        outputs = self._by_rule(operation, inputs)
        self._tie_with_first_call(operation, inputs, outputs)
        return outputs

    def _without_masks(self, call):
        """The inputs without those that are masks; these have to stay."""
        masks = {
            id(t)
            for key, value in call.node.arguments.kwargs.items()
            for t in tree.flatten(value)
            if "mask" in key and isinstance(t, keras.KerasTensor)
        }
        inputs = [self.tensors[id(t)] for t in call.inputs]
        pairs = list(zip(self.walk.given, inputs, strict=True))
        self._freeze_all(
            [x for old, x in pairs if id(old) in masks],
            f"'{call.operation.name}' is masked by it",
        )
        pairs = [(old, x) for old, x in pairs if id(old) not in masks]
        self.walk.given = [old for old, _ in pairs]
        return [x for _, x in pairs]

    def _by_rule(self, operation, inputs):
        """The outputs of the call at hand, by the rule of its layer."""
        rule = rules.find(operation)
        if id(operation) in self._passing:
            return inputs
        try:
            if rule is None:
                why = self.whole.get(id(operation))
                raise rules.CannotFollow(
                    f"no rule for {type(operation).__name__} "
                    f"'{operation.name}'{f': {why}' if why else ''}"
                )
            mode = getattr(operation, "quantization_mode", None)
            if mode:
                raise rules.CannotFollow(
                    f"'{operation.name}' is quantized ({mode}): prune first"
                )
            if getattr(operation, "lora_enabled", False):
                raise rules.CannotFollow(
                    f"'{operation.name}' has LoRA: prune before enable_lora"
                )
            outputs = rule.channels(operation, inputs, self.walk)
        except rules.CannotFollow as error:
            self.not_followed[id(operation)] = str(error)
            return self._frozen(inputs, str(error))
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return [
            self._checked(_as_tensor(output, shape), shape, operation)
            for output, shape in zip(outputs, self.walk.shapes, strict=True)
        ]

    def _freeze_all(self, tensors, reason):
        for x in tensors:
            for ids in x.axes:
                self.walk.freeze(ids, reason)

    def _frozen(self, inputs, reason):
        """Freezes the inputs; outputs with channels that have to stay."""
        self._freeze_all(inputs, reason)
        return [
            rules.positions(shape).with_ids(self.walk.stuck(shape[-1], reason))
            if len(shape) > 1 and shape[-1]
            else rules.positions(shape)
            for shape in self.walk.shapes
        ]

    def _checked(self, output, shape, operation):
        """The output with the shape that Keras gives it."""
        axes = []
        for ids, size in zip(output.axes, shape, strict=True):
            if ids is not None and len(ids) != size:
                self.walk.freeze(
                    ids, f"'{operation.name}' has an output of unknown size"
                )
                ids = None
            axes.append(ids)
        return rules.Tensor(tuple(shape), tuple(axes))

    def _tie_with_first_call(self, operation, inputs, outputs):
        """One layer has one size: its calls are cut alike."""
        first = self._first.setdefault(id(operation), (inputs, outputs))
        if first[0] is inputs or getattr(operation, "weights", ()):
            return
        rule = rules.find(operation) or rules.Rule()
        whole = rules.Cut(*(list(map(_all_of, x)) for x in first), {})
        # Most dropout layers serve tensors of any size, for example.
        if not rule.resized(operation, whole):
            return
        self._tie_tensors(
            [*first[0], *first[1]], [*inputs, *outputs], operation
        )

    def _freeze_other_calls(self):
        """Weights that are not followed in one call stay whole in all."""
        for call in self.calls:
            operation = call.operation
            reason = self.not_followed.get(id(operation))
            if reason is None or not getattr(operation, "weights", ()):
                continue
            tensors = [*call.inputs, *call.outputs]
            self._freeze_all([self.tensors[id(t)] for t in tensors], reason)
            for ids in self.walk.made.get(self.walk.names[id(operation)], ()):
                self.walk.freeze(ids, reason)

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
                    self.walk.tie(a, b)
            else:
                self._freeze_all(
                    [before, now], f"'{operation.name}' has calls of two sizes"
                )


def _as_tensor(output, shape):
    """What a rule returned, as a `Tensor`: ids are those of the last axis."""
    if isinstance(output, rules.Tensor):
        return output
    return rules.positions(shape).with_ids(np.asarray(output))


def _all_of(x):
    """A tensor of which everything stays."""
    masks = (None if i is None else np.ones(len(i), bool) for i in x.axes)
    return rules.Kept(x.shape, tuple(masks))


def _sized(x):
    """The ids of a tensor's labelled axes."""
    return [x.axes[axis] for axis in x.labelled]
