"""Carrying: one constant channel takes over the constants of others.

Where 'same' padding cuts a constant off at the border, no bias can replace
it, but another constant channel can: padding cuts that one off in the same
way. Of the channels c_i that a layer sums up with weights W_i, a carrier k
stays with W_k + sum_i (c_i / c_k) W_i, and the others go, exactly.
"""

import collections

import numpy as np

from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.measuring import rows
from keras_nonconvex.pruning.removal.arriving import rounding

# A carrier sends at least this part of what it carries the most of: rounding
# of a small constant would be multiplied.
_LEAST = 0.1

# A layer may lose any of the classes `needs` as long as one of `carriers`
# stays, all of them roots. `reader` is the layer's name.
Cell = collections.namedtuple("Cell", "reader needs carriers")


class Reading:
    """The constants that enter a layer through one of its weights.

    Attributes:
        use: The `Use` of the weight.
        axis: The axis of the layer's input that the weight runs along; None
            where it cannot be told, and then there is nothing else.
        places: The indices on that axis that are constant in every call.
        roots: Their classes.
        known: One bool per index of the axis, whether the weight is not zero.
        uniform: One bool per place, whether a bias could be the constant.
        size: The greatest magnitude of each.
        kinds: One int per place: those of one kind are multiples of each
            other, and read by the same filters. It is -1 for what is zero,
            not finite, or another one at another size.

    Args:
        trace: A `Trace`.
        constants: The `Constants` of the model.
        use: As above.
        arrival: What arrives at the layer, a `Sent`.
    """

    def __init__(self, trace, constants, use, arrival):
        self.use = use
        self.axis = _axis(trace, use, arrival.calls)
        if self.axis is None:
            return
        tensors = [call.inputs[0] for call in arrival.calls]
        all_roots = trace.root_of[trace.tensors[id(tensors[0])].axes[self.axis]]
        constant = np.ones(len(all_roots), dtype=bool)
        for tensor in tensors:
            roots = trace.root_of[trace.tensors[id(tensor)].axes[self.axis]]
            constant &= np.isin(roots, constants.of(tensor))
        self.places = np.flatnonzero(constant)
        self.roots = all_roots[self.places]
        self.known = use.rows().any(axis=1)
        arrays = [a for at_sizes in arrival.images for a, *_ in at_sizes]
        self._rounding = max(map(rounding, arrays))
        # One row per place, with its values at all positions, calls and sizes.
        self._signals = np.concatenate(
            [
                rows(array, self.axis)[self.places].astype("float64")
                for array in arrays
            ],
            axis=1,
        )
        low, high = self._signals.min(axis=1), self._signals.max(axis=1)
        self.size = np.maximum(np.abs(low), np.abs(high))
        with np.errstate(invalid="ignore"):
            self.uniform = high - low <= self._rounding * self.size
        self._stable = self._same_at_all_sizes(arrival)
        self.kinds = self._kinds()

    def _same_at_all_sizes(self, arrival):
        """One bool per place: no size that was tried changes its range.

        What changes with the size may be a multiple of another constant at
        the sizes that were tried, and not at others.
        """
        stable = np.ones(len(self.places), dtype=bool)
        for at_sizes in arrival.images:
            found = [
                rows(array, self.axis)[self.places].astype("float64")
                for array, *_ in at_sizes
            ]
            for bound in (np.min, np.max):
                ends = np.stack([bound(each, axis=1) for each in found])
                with np.errstate(invalid="ignore"):
                    stable &= np.ptp(ends, axis=0) <= self._rounding * self.size
        return stable

    def _kinds(self):
        kinds = np.full(len(self.places), -1)
        group = self.places // (len(self.use.ids) // self.use.groups)
        able = np.isfinite(self.size) & (self.size > 0) & self._stable
        left = np.flatnonzero(able)
        while len(left):
            first = left[0]
            rest = self._signals[left] - (
                self._ratios(left, first)[:, None] * self._signals[first]
            )
            alike = np.abs(rest).max(axis=1) <= self._rounding * self.size[left]
            alike &= group[left] == group[first]
            kinds[left[alike]] = first
            left = left[~alike]
        return kinds

    def _ratios(self, these, carrier):
        """What some constants are in units of another one's."""
        peak = np.argmax(np.abs(self._signals[carrier]))
        return self._signals[these, peak] / self._signals[carrier, peak]

    def cells(self, reader, needs):
        """The `Cell` of each kind, of those that are needed.

        Args:
            reader: The name of the layer.
            needs: One bool per place, whether it cannot go without.
        """
        for kind in np.unique(self.kinds[needs & (self.kinds >= 0)]):
            needing = needs & (self.kinds == kind)
            most = self.size[needing].max()
            able = (self.kinds == kind) & (self.size >= _LEAST * most)
            yield Cell(
                reader,
                np.unique(self.roots[needing]),
                np.unique(self.roots[able]),
            )

    def carry(self, moves, stays, weight):
        """Adds what goes to what stays, in a weight.

        Args:
            moves: One bool per place: its constant is to be carried.
            stays: One bool per place: it may carry.
            weight: The values of the weight, an array.

        Returns:
            (the new values; {place that carries: places that it carries}, by
            their position among `places`).
        """
        carried = {}
        parts = np.array(self.use.spread(weight), "float64")
        for kind in np.unique(self.kinds[moves & (self.kinds >= 0)]):
            able = np.flatnonzero(stays & (self.kinds == kind))
            if not len(able):
                continue
            carrier = able[np.argmax(self.size[able])]
            these = np.flatnonzero(moves & (self.kinds == kind))
            carried[carrier] = these
            parts[self.places[carrier]] += np.tensordot(
                self._ratios(these, carrier), parts[self.places[these]], 1
            )
        return self.use.joined(parts).astype(weight.dtype), carried


def _axis(trace, use, calls):
    """The axis of a layer's input that a weight runs along, None if unclear."""
    mine = trace.root_of[use.ids]
    found = set()
    for call in calls:
        if len({id(t) for t in call.inputs}) != 1:
            return None
        x = trace.tensors[id(call.inputs[0])]
        found.add(
            tuple(
                axis
                for axis in x.labelled
                if np.array_equal(trace.root_of[x.axes[axis]], mine)
            )
        )
    (first, *others) = found
    return first[0] if not others and len(first) == 1 else None


def exact(layer):
    """Whether a bias of the layer can be a constant that it reads."""
    rule = rules.find(layer)
    return bool(rule.bias_axes(layer)) and rule.folds_exactly(layer)


class Carried:
    """What carriers take over in one removal.

    Attributes:
        values: {id of a variable: its new values}.
        masks: {(id of a layer, axis of its input): one bool per index, whether
            its constant is carried}.
        readers: {root of a class that carries: names of the layers that read
            more from it}.

    Args:
        trace: A `Trace`.
        constants: The `Constants` of the model.
        keep: One bool per id: classes that stay.
        going: One bool per id: constant classes that go.
        values: As in `execution.run`.
        arriving: What the latter send, a list of `Sent`.
    """

    def __init__(self, trace, constants, keep, going, values, arriving):
        self.values = {}
        self.masks = {}
        self.readers = collections.defaultdict(list)
        for arrival in arriving:
            if not rules.find(arrival.layer).sums_channels(arrival.layer):
                continue
            for use in arrival.uses:
                reading = Reading(trace, constants, use, arrival)
                if reading.axis is None:
                    continue
                key = id(use.variable)
                old = self.values.get(key, values.get(key, use.values))
                moves = going[reading.roots]
                if exact(arrival.layer):
                    moves = moves & ~reading.uniform
                new, carried = reading.carry(moves, keep[reading.roots], old)
                if not carried:
                    continue
                self.values[key] = new
                mask = np.zeros(len(use.ids), dtype=bool)
                mask[reading.places[np.concatenate([*carried.values()])]] = True
                self.masks[id(arrival.layer), reading.axis] = mask
                for carrier in carried:
                    self.readers[int(reading.roots[carrier])].append(
                        trace.names[id(arrival.layer)]
                    )
