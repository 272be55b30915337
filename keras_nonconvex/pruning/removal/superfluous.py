"""`Superfluous`: what a model's outputs do not depend on, and what holds it."""

import functools

import numpy as np

from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.removal import arriving
from keras_nonconvex.pruning.removal import carrying
from keras_nonconvex.pruning.removal.builder import masked_values
from keras_nonconvex.pruning.removal.constants import Constants
from keras_nonconvex.pruning.removal.constants import unread_classes


class Superfluous:
    """The classes of channels that a model's outputs do not depend on.

    Attributes:
        unread: One bool per id: classes that no reader has weights for.
        constants: The `Constants` of the model.
        constant: One bool per id: classes that are constant, of the others.

    Args:
        trace: A `Trace`.
        on_constant: "carry", "keep" or "fold", as in `plan`.
    """

    def __init__(self, trace, on_constant):
        self.trace = trace
        self.on_constant = on_constant
        self.unread = unread_classes(trace)
        self.constants = Constants(trace)
        self.constant = self.constants.classes() & ~self.unread

    @property
    def stuck(self):
        """{root: why} of classes that cannot go exactly."""
        return self._held[0]

    @property
    def cells(self):
        """Classes of which some have to stay for the others, `Cell`s."""
        return self._held[1]

    @functools.cached_property
    def _held(self):
        reasons, cells = {}, []
        if self.constant.any():
            reasons = stuck_at_zero(self.trace, self.constant)
            cells = self._at_readers(reasons)
        if self.trace.zeros_needed:
            live = self.trace.free & ~self.constant
            values = masked_values(self.trace, live)
            reasons.update(stuck_at_zero(self.trace, live, values))
        return reasons, cells

    def _at_readers(self, reasons):
        """The cells of all readers; gives reasons to what has none."""
        try:
            arrivals = arriving.sent(self.trace, self.constant)
        except Exception as error:
            (first, *_) = str(error).splitlines() or [""]
            why = f"sends a constant that cannot be measured: {first}"
            roots = np.flatnonzero(self.constant).tolist()
            reasons.update(dict.fromkeys(roots, why))
            return []
        return [
            cell
            for arrival in arrivals
            for cell in self._at_reader(arrival, reasons)
        ]

    def _at_reader(self, arrival, reasons):
        """The cells of one reader."""
        layer = arrival.layer
        rule = rules.find(layer)
        can, exact = bool(rule.bias_axes(layer)), carrying.exact(layer)
        readings = [
            carrying.Reading(self.trace, self.constants, use, arrival)
            for use in arrival.uses
        ]
        held = []
        for level in arriving.levels(
            self.trace, self.constant, arrival.calls, arrival.images
        ):
            bias = (exact and level.uniform) or (
                can and self.on_constant == "fold" and level.foldable
            )
            if not level.zero and not bias and _read(level, readings):
                held.append(level)
        at = {(level.axis, level.place) for level in held}
        cells, carried = [], set()
        carries = self.on_constant == "carry" and rule.sums_channels(layer)
        for reading in readings if carries else ():
            if reading.axis is None:
                continue
            needs = np.array(
                [(reading.axis, place) in at for place in reading.places],
                dtype=bool,
            )
            name = self.trace.names[id(layer)]
            cells += reading.cells(name, needs)
            carried |= {
                (reading.axis, place)
                for place in reading.places[needs & (reading.kinds >= 0)]
            }
        alone = {
            root
            for cell in cells
            for root in cell.needs.tolist()
            if cell.carriers.tolist() == [root]
        }
        for level in held:
            by_others = (level.axis, level.place) in carried
            if not by_others or level.root in alone:
                reasons[level.root] = level.reason(layer, can)
        return cells


def _read(level, readings):
    """Whether some weight of a layer is not zero for a constant."""
    mine = [r for r in readings if r.axis in (None, level.axis)]
    return not mine or any(r.axis is None or r.known[level.place] for r in mine)


def stuck_at_zero(trace, classes, values=None):
    """Classes that are not zero where they have to be: {root: why}.

    Args:
        trace: A `Trace`.
        classes: One bool per id: the classes in question.
        values: As in `execution.run`.
    """
    calls = [
        call
        for call, ids in trace.zeros_needed
        if classes[trace.root_of[ids]].any()
    ]
    images = arriving.images(trace, calls, values)
    reasons = {
        level.root: f"sends {level.high:.3g} into '{call.operation.name}', "
        "which needs a zero there"
        for call in calls
        for level in arriving.levels(
            trace, classes, [call], [images[id(call.node), call.path]]
        )
        if not level.zero
    }
    # Zero as all of them are gone may be something else beside the others.
    constants = Constants(trace, values=values) if calls else None
    for call in calls:
        for tensor in call.inputs:
            live = np.setdiff1d(constants.roots(tensor), constants.of(tensor))
            for root in live[classes[live]].tolist():
                reasons.setdefault(
                    root,
                    f"takes from others what '{call.operation.name}' must "
                    "not get",
                )
    return reasons
