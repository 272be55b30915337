"""Which channels are constant: the same for every input of the model.

A channel is constant after a filter without weights, or whose weights read
constants alone, and after a normalization scale of zero; it stays so through
layers that treat channels by themselves.
"""

import collections
import functools

import numpy as np

from keras_nonconvex import graph
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.measuring import measured
from keras_nonconvex.pruning.channels.measuring import rows

_NONE = np.arange(0)


class Constants:
    """The constant channels of every tensor.

    Args:
        trace: A `Trace`.
        keep: One bool per id, or None: classes that are not kept count as
            constant, as they are once their weights are zero.
        values: As in `execution.run`: weights that count as others. Defaults
            to `None`.
    """

    def __init__(self, trace, keep=None, values=None):
        self.trace = trace
        self._values = values or {}
        self.dropped = (
            _NONE if keep is None else np.flatnonzero(trace.free & ~keep)
        )
        self._uses = collections.defaultdict(list)
        for use in trace.uses:
            self._uses[id(use.layer)].append(use)
        mixing = {id(call.node): call for call, _ in trace.mixing}
        self._in_training = graph.in_training(trace.calls)
        self._zeros = _zero_factors(trace, self._values)
        self._found = {}
        for call in trace.calls:
            for tensor, roots in self._after(call, id(call.node) in mixing):
                self._found[id(tensor)] = roots

    def of(self, tensor):
        """The roots of a tensor's constant channels."""
        return self._found[id(tensor)]

    def whole(self, tensor):
        """Whether all of a tensor is constant."""
        roots = self.roots(tensor)
        return len(roots) > 0 and len(self.of(tensor)) == len(roots)

    def roots(self, tensor):
        """The roots of all channels of a tensor."""
        return self.trace.roots(tensor)

    def classes(self):
        """Classes that reach every reader as a constant: one bool per id."""
        live = np.zeros(len(self.trace), dtype=bool)
        readers = {id(use.layer) for use in self.trace.of_role("input")}
        readers |= {id(c.operation) for c, _ in self.trace.mixing}
        for call in self.trace.calls:
            if id(call.operation) in readers:
                for x in call.inputs:
                    live[np.setdiff1d(self.roots(x), self.of(x))] = True
        for use in self.trace.of_role("inner"):
            inside = np.intersect1d(
                self._made(use.layer), self.trace.root_of[use.ids]
            )
            constant = self._without_weights(use.layer, [])
            live[np.setdiff1d(inside, constant)] = True
        return self.trace.free & ~live

    def _after(self, call, mixes):
        """[(output tensor, roots of its constant channels)] of a call."""
        uses = self._uses.get(id(call.operation), [])
        dropped = self.dropped
        if (id(call.node), call.path) in self._in_training:
            # Noise, and what a batch has in common.
            constant = dropped = _NONE
        elif id(call.operation) in self.trace.not_followed:
            # Its outputs may have been tied with what enters it.
            constant = _NONE
        elif any(use.role == "filter" for use in uses):
            constant = self._without_weights(call.operation, call.inputs)
        elif mixes and not (
            self._values and rules.find(call.operation).keeps_zeros
        ):
            constant = _NONE
        else:
            constant = self._passed_on(call)
        scales = [use for use in uses if use.role == "scale"]
        constant = _union([constant, self._zero(scales), dropped])
        for tensor in call.outputs:
            roots = self.roots(tensor) if len(constant) else _NONE
            yield tensor, roots[np.isin(roots, constant)]

    def _passed_on(self, call):
        """Roots of the constants that pass a layer which mixes no channels."""
        inputs = self.trace.read_by(call)
        constant = [self.of(x) for x in inputs]
        if not constant:
            return _NONE
        rule = rules.find(call.operation)
        if len(constant) == 1 or rule is None or not rule.concatenates:
            # Values of all inputs are in each value of the output; but zero
            # times something is zero.
            zeros = [
                np.intersect1d(roots, self._zeros.get(id(x), _NONE))
                for roots, x in zip(constant, inputs, strict=True)
            ]
            alike = functools.reduce(np.intersect1d, constant)
            return _union([alike, *zeros])
        tensors = [self.trace.tensors[id(x)] for x in inputs]
        if len({tuple(x.labelled) for x in tensors}) > 1:
            return _NONE
        live = [np.setdiff1d(self.roots(x), self.of(x)) for x in inputs]
        return np.setdiff1d(_union(constant), _union(live))

    def _made(self, layer):
        """The roots of the classes that a layer has filters for."""
        ids = [u.ids for u in self._uses[id(layer)] if u.role == "filter"]
        return np.unique(self.trace.root_of[np.concatenate(ids)])

    def _without_weights(self, layer, inputs):
        """Roots of the filters whose output is constant.

        These are filters of zeros, and those whose other weights read
        constants.
        """
        uses = self._uses[id(layer)]
        inner = _union(
            [self.trace.root_of[u.ids] for u in uses if u.role == "inner"]
        )
        read = {id(use.variable): use for use in uses if use.role == "input"}
        constant = _union([self.of(x) for x in inputs])
        alive = []
        for use in uses:
            if use.role not in ("filter", "bias"):
                continue
            values = self._weight(use) != 0
            if use.role == "bias":
                # What is added inside of the layer does not leave it as such.
                inside = np.isin(self.trace.root_of[use.ids], inner)
                values = values & use.aligned(inside)
            reader = read.get(id(use.variable))
            if reader is not None and len(constant):
                live = ~np.isin(self.trace.root_of[reader.ids], constant)
                values = values & reader.aligned(live)
            alive.append(self.trace.root_of[use.ids][use.rows(values).any(1)])
        made, alive = self._made(layer), _union(alive)
        return np.setdiff1d(made, alive, assume_unique=True)

    def _weight(self, use):
        """The values that a weight counts as."""
        known = self._values.get(id(use.variable))
        return use.values if known is None else known

    def _zero(self, uses):
        """Roots of the channels that scales of zero make zero."""
        alive, dead = [], []
        for use in uses:
            roots = self.trace.root_of[use.ids]
            nonzero = use.rows(self._weight(use)).any(axis=1)
            alive.append(roots[nonzero])
            dead.append(roots[~nonzero])
        dead = _union(dead)
        return np.setdiff1d(dead, _union(alive)) if len(dead) else dead


def _zero_factors(trace, values):
    """{id of a tensor: roots of the channels that are zero in it}.

    Of the factors of products that a call reads which needs zeros.

    Args:
        trace: A `Trace`.
        values: As in `Constants`.
    """
    needing = {id(t) for call, _ in trace.zeros_needed for t in call.inputs}
    factors = [
        x
        for call in trace.calls
        if getattr(rules.find(call.operation), "multiplies", False)
        and id(call.outputs[0]) in needing
        for x in call.inputs
    ]
    try:
        found = measured(trace, values, factors) if factors else []
    except ValueError:
        return {}
    zeros = {}
    for tensor in factors if found else ():
        x, alive = trace.tensors[id(tensor)], [_NONE]
        for axis in x.labelled:
            roots = trace.root_of[x.axes[axis]]
            for arrays in found:
                nonzero = rows(arrays[id(tensor)], axis).any(axis=1)
                alive.append(roots[nonzero])
        zeros[id(tensor)] = np.setdiff1d(trace.roots(tensor), _union(alive))
    return zeros


def unread_classes(trace):
    """Classes that are only read by weights of zero: one bool per id."""
    read = np.zeros(len(trace), dtype=bool)
    through = {id(use.layer): use for use in trace.of_role("through")}
    for use in trace.of_role("input", "inner"):
        ids, nonzero = use.ids, use.rows().any(axis=1)
        further = through.get(id(use.layer))
        if further is not None:
            # Each output of a channel by itself: both weights have to read.
            outputs = use.rows().reshape(len(ids), -1, use.variable.shape[-1])
            ids, nonzero = further.ids, outputs.any(axis=1).ravel()
            nonzero = nonzero & further.rows().any(axis=1)
        read[trace.root_of[ids[nonzero]]] = True
    for _, ids in trace.mixing:
        read[trace.root_of[ids]] = True
    return trace.free & ~read


def _union(arrays):
    arrays = [array for array in arrays if len(array)]
    if not arrays:
        return _NONE
    # For roots this is much faster than `np.unique`.
    return np.flatnonzero(np.bincount(np.concatenate(arrays)))
