"""One walk over a model: channel ids of every tensor, weight by weight."""

import collections
import math

import keras
import numpy as np

from keras_nonconvex import counts
from keras_nonconvex import graph
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels import ChannelSpace

# An axis of a weight that is indexed by channels. Roles: "filter" makes the
# channel, "bias" and "shift" are added to it, "scale" multiplies it, "state"
# belongs to it, "input" reads it.
Use = collections.namedtuple("Use", "layer index axis ids role")


class Trace(ChannelSpace):
    """The channel graph of a functional or Sequential model.

    Attributes:
        model: The functional form of the model.
        calls: The calls of its layers, in order.
        uses: All weight axes that are channels.
        ids: Tensor -> channel ids, by `id(keras_tensor)`.
        layers: Layer name -> layer, in order.
    """

    def __init__(self, model):
        super().__init__()
        self.model = graph.functional(model)
        self.calls = graph.calls(model)
        self.uses = []
        self._known = {}
        self.ids = {}
        self.layers = {}
        for call in self.calls:
            self._visit(call)
        for tensor in self.model.outputs:
            self.freeze(self.ids[id(tensor)], "model output")
        self._find_classes()

    def use(self, layer, weight, axis, ids, role):
        """Declares that `axis` of a layer's weight is indexed by `ids`.

        Called again for the same axis (a shared layer), it ties the ids with
        the first ones. Returns the ids that count.
        """
        variable = getattr(layer, weight)
        index = [w is variable for w in layer.weights].index(True)
        known = self._known.get((layer.name, index, axis))
        if known is not None:
            self.tie(known, ids)
            return known
        self._known[layer.name, index, axis] = ids
        self.uses.append(Use(layer, index, axis, ids, role))
        return ids

    def freeze_all(self, layer, inputs, reason):
        """Freezes the inputs; returns fresh frozen ids for the output."""
        for x in inputs:
            self.freeze(x.ids, reason)
        ids = self.new(self._output_channels)
        self.freeze(ids, reason)
        return ids

    def _visit(self, call):
        layer = call.operation
        self._output_channels = call.outputs[0].shape[-1] or 0
        inputs = [rules.Tensor(self.ids[id(t)], t.shape) for t in call.inputs]
        if isinstance(layer, keras.layers.InputLayer):
            ids = self.freeze_all(layer, [], "model input")
        else:
            if isinstance(layer, keras.layers.Layer):
                self.layers[layer.name] = layer
            rule = rules.REGISTRY.get(type(layer))
            kind = type(layer).__name__
            if rule is None or len(call.outputs) != 1:
                reason = f"no rule for {kind} '{layer.name}'"
            elif getattr(layer, "data_format", None) == "channels_first":
                reason = f"{kind} '{layer.name}' keeps channels first"
            else:
                reason = None
            if reason:
                ids = self.freeze_all(layer, inputs, reason)
            else:
                ids = rule.channels(layer, inputs, self)
        for tensor in call.outputs:
            size = tensor.shape[-1] or 0
            if len(ids) != size:
                reason = f"unknown channels after '{layer.name}'"
                self.freeze(ids, reason)
                ids = self.new(size)
                self.freeze(ids, reason)
            self.ids[id(tensor)] = ids

    def _find_classes(self):
        # From here on nothing is tied any more.
        self.root_of = self.roots(range(len(self)))
        self.free = np.array(
            [
                self.root_of[i] == i and self.frozen(i) is None
                for i in range(len(self))
            ]
        )
        made = set()
        for use in self.uses:
            if use.role == "filter":
                made.update(self.root_of[use.ids])
        self.free &= np.isin(np.arange(len(self)), list(made))

    def of_role(self, *roles):
        """The uses with one of these roles."""
        return [use for use in self.uses if use.role in roles]

    def total(self, use, values):
        """Sums per-index `values` of one use over the channel classes."""
        return np.bincount(
            self.root_of[use.ids], weights=values, minlength=len(self)
        )

    def blocks(self):
        """Prunable classes, as arrays, by the set of layers making them."""
        makers = collections.defaultdict(set)
        for use in self.of_role("filter"):
            for root in self.root_of[use.ids]:
                makers[root].add(use.layer.name)
        blocks = collections.defaultdict(list)
        for root in np.flatnonzero(self.free):
            blocks[tuple(sorted(makers[root]))].append(root)
        return {names: np.array(roots) for names, roots in blocks.items()}

    def layer_costs(self, keep):
        """Layer name -> (params, MACs) with only the kept classes.

        Args:
            keep: One bool per channel id, read at the class roots.
        """
        kept = {
            (use.layer.name, use.index, use.axis): int(
                keep[self.root_of[use.ids]].sum()
            )
            for use in self.uses
        }

        def size(layer, index):
            return math.prod(
                kept.get((layer.name, index, axis), n)
                for axis, n in enumerate(layer.weights[index].shape)
            )

        costs = {
            name: [sum(size(layer, i) for i in range(len(layer.weights))), 0]
            for name, layer in self.layers.items()
        }
        for call in self.calls:
            full = counts.call_macs(call)
            if full:
                layer = call.operation
                kernel = [w is layer.kernel for w in layer.weights].index(True)
                part = size(layer, kernel)
                whole = math.prod(layer.kernel.shape)
                costs[layer.name][1] += full * part // whole
        return costs

    def costs(self, keep):
        """{"params", "macs"} of the whole model, likewise."""
        params, macs = zip(*self.layer_costs(keep).values(), strict=True)
        return {"params": sum(params), "macs": sum(macs)}


def numpy_weight(use):
    """The weight that a use speaks of, as an array."""
    return keras.ops.convert_to_numpy(use.layer.weights[use.index])


def along(use, array):
    """`array` with the used axis first, the rest flattened."""
    return np.moveaxis(array, use.axis, 0).reshape(array.shape[use.axis], -1)
