"""One removal: the masked and the small model of a choice of classes."""

import functools

import numpy as np
from keras import ops

from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.removal import arriving
from keras_nonconvex.pruning.removal import compiling
from keras_nonconvex.pruning.removal import folding
from keras_nonconvex.pruning.removal.branches import Branches
from keras_nonconvex.pruning.removal.builder import Builder
from keras_nonconvex.pruning.removal.builder import masked_values
from keras_nonconvex.pruning.removal.carrying import Carried


class Removal:
    """Carries out a choice of classes: the masked and the small model.

    Args:
        trace: A `Trace`.
        keep: One bool per channel id, read at the class roots.
        superfluous: The `Superfluous` of the trace.
    """

    def __init__(self, trace, keep, superfluous):
        self.trace = trace
        self.keep = keep
        self.superfluous = superfluous
        dropped = trace.free & ~keep
        self.constant = dropped & superfluous.constant
        # What is constant already keeps its constant when masked: the masked
        # model then computes exactly what the original does.
        self.values = masked_values(trace, dropped & ~self.constant)
        self.branches = Branches(trace, keep, self.values)

    @functools.cached_property
    def _arriving(self):
        """What the constants that go send to their readers."""
        if not self.constant.any():
            return []
        return arriving.sent(self.trace, self.constant, self.values)

    @functools.cached_property
    def carried(self):
        """The `Carried` of those that a channel carries which stays."""
        carry = self.superfluous.on_constant == "carry"
        return Carried(
            self.trace,
            self.superfluous.constants,
            self.keep,
            self.constant,
            self.values,
            self._arriving if carry else [],
        )

    @functools.cached_property
    def _changes(self):
        """{id of a layer: (change of its bias, error at the border)}."""
        return folding.bias_changes(
            self.trace,
            self.constant,
            self.values,
            self._arriving,
            self.carried.masks,
        )

    def check(self):
        """Refuses what cannot be removed exactly."""
        model = self.trace.model.name
        for root, reason in self.superfluous.stuck.items():
            if self.keep[root]:
                continue
            name, index = self._place(root)
            raise ValueError(
                f"Channel {index} of '{name}' cannot be removed: it {reason}. "
                f"Received: model={model!r}"
            )
        for cell in self.superfluous.cells:
            gone = cell.needs[~self.keep[cell.needs]]
            if len(gone) and not self.keep[cell.carriers].any():
                name, index = self._place(gone[0])
                raise ValueError(
                    f"Channel {index} of '{name}' cannot be removed: it sends "
                    f"a constant into '{cell.reader}', where no bias can "
                    "replace it, and no channel that could carry it stays. "
                    f"Received: model={model!r}"
                )
        if self.branches.emptied:
            name, _ = self._place(self.branches.emptied[0][0])
            raise ValueError(
                f"The keep list of layer '{name}' keeps no channel, and what "
                "reads it is needed. "
                f"Received: model={model!r}"
            )

    def masked(self):
        """The same architecture with the dropped channels zeroed."""
        return Builder(self.trace, values=self.values).build()

    def small(self):
        """The model without the dropped channels: computes what it does."""
        return self._builder().build()

    def small_like(self, model, optimizer=False):
        """The small model, compiled as the model that it comes from.

        Args:
            model: The model that was traced.
            optimizer: Whether to carry over the optimizer's state for the
                weights that stay. Defaults to `False`.
        """
        builder = self._builder()
        small = builder.build()
        compiling.compile_like(small, model)
        if optimizer:
            compiling.carry_optimizer(small, model, builder)
        return small

    def _builder(self):
        # A builder remembers what it built: each model gets its own.
        values, new_biases = self._weights
        return Builder(
            self.trace, self.keep, values, new_biases, self.branches.bypassed
        )

    @functools.cached_property
    def _weights(self):
        """(values, new biases) of the small model, as in `Builder`."""
        values = {**self.values, **self.carried.values}
        new_biases = {}
        for layer in self._changed_layers():
            change, _ = self._changes[id(layer)]
            given = getattr(rules.inmost(layer), "bias", None)
            if given is None:
                bias = self._cut_like_outputs(layer, change)
                if np.any(bias):
                    new_biases[id(layer)] = bias
            else:
                old = values.get(id(given), ops.convert_to_numpy(given))
                values[id(given)] = old + change.reshape(old.shape)
        return values, new_biases

    def _changed_layers(self):
        return [
            layer
            for layer in self.trace.layers.values()
            if id(layer) in self._changes
        ]

    def _cut_like_outputs(self, layer, change):
        """What stays of a value per output channel of a layer."""
        call = next(c for c in self.trace.calls if c.operation is layer)
        out = self.trace.tensors[id(call.outputs[0])]
        rank = len(out.shape)
        axes = sorted(a % rank for a in rules.find(layer).bias_axes(layer))
        for i, axis in enumerate(axes):
            if out.axes[axis] is not None:
                stays = self.trace.stays(self.keep, out.axes[axis])
                change = np.compress(stays, change, axis=i)
        return change

    def new_parameters(self, layer=None):
        """How many parameters layers without a bias gain.

        Args:
            layer: A layer, to count its own. Defaults to `None`: all that
                stay.
        """
        _, added = self._weights
        if layer is not None:
            return added[id(layer)].size if id(layer) in added else 0
        gone = set(self.branches.gone)
        return sum(
            added[id(layer)].size
            for name, layer in self.trace.layers.items()
            if id(layer) in added and name not in gone
        )

    def border_errors(self):
        """{layer: greatest error of its output where a fold is inexact}."""
        return {
            self.trace.names[id(layer)]: self._changes[id(layer)][1]
            for layer in self._changed_layers()
            if self._changes[id(layer)][1]
        }

    def _place(self, root):
        for name, arrays in self.trace.made.items():
            roots = self.trace.root_of[np.concatenate(arrays)]
            if root in roots:
                return name, int(np.argmax(roots == root))
        return "?", int(root)
