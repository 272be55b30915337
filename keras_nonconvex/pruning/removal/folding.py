"""Folding: the constants of removed channels go into the next bias.

A filter that is zero still sends act(bias) or act(BN shift) downstream. One
pass of any input measures all of these constants; where sizes are free, one
pass at each of several sizes, since padding or a sum may depend on them.
"""

import collections
import dataclasses

import numpy as np
from keras import ops

from keras_nonconvex import configs
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.channels.measuring import measured
from keras_nonconvex.pruning.channels.measuring import rows
from keras_nonconvex.pruning.removal.constants import Constants

# Equal up to rounding: kernels sum in another order at borders.
_EQUAL = 1e-6

# What arrives where `use` reads constants: `images` are the values that each
# call of the layer gets, one list of its inputs for each size that was tried.
Sent = collections.namedtuple("Sent", "use calls images")


def sent(trace, constant, values=None):
    """The constants that arrive at each reader, as a list of `Sent`.

    Args:
        trace: A `Trace`.
        constant: One bool per id: the classes in question.
        values: As in `execution.run`: weights that count as others.
    """
    readers = [
        use
        for use in trace.of_role("input")
        if constant[trace.root_of[use.ids]].any()
    ]
    calls = collections.defaultdict(list)
    for call in trace.calls:
        calls[id(call.operation)].append(call)
    arrays = _images(
        trace, [c for use in readers for c in calls[id(use.layer)]], values
    )
    return [
        Sent(
            use,
            calls[id(use.layer)],
            [arrays[id(call.node), call.path] for call in calls[id(use.layer)]],
        )
        for use in readers
    ]


def _images(trace, calls, values):
    """{key of a call: per size the arrays that enter it, in inference}."""
    if not calls:
        return {}
    wanted = [t for call in calls for t in call.inputs]
    found = measured(trace, values or {}, wanted)
    return {
        (id(call.node), call.path): [
            [arrays[id(t)] for t in call.inputs] for arrays in found
        ]
        for call in calls
    }


def stuck(trace, constant, on_constant):
    """Constant classes whose constant no bias can replace: {root: why}.

    Args:
        trace: A `Trace`.
        constant: One bool per id: the classes in question.
        on_constant: "keep" to refuse what is inexact at a border.
    """
    reasons = stuck_at_zero(trace, constant)
    try:
        arriving = sent(trace, constant)
    except Exception as error:
        (first, *_) = str(error).splitlines() or [""]
        why = f"sends a constant that cannot be measured: {first}"
        return dict.fromkeys(np.flatnonzero(constant).tolist(), why)
    for use, calls, images in arriving:
        rule = rules.find(use.layer)
        can = bool(rule.bias_axes(use.layer))
        exact = can and rule.folds_exactly(use.layer)
        for level in _levels(trace, constant, calls, images):
            if level.low == level.high == 0:
                continue
            if exact and level.uniform:
                continue
            if can and on_constant == "fold" and level.foldable:
                continue
            reasons[level.root] = level.reason(use.layer, can)
    return reasons


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
    images = _images(trace, calls, values)
    reasons = {
        level.root: f"sends {level.high:.3g} into '{call.operation.name}', "
        "which needs a zero there"
        for call in calls
        for level in _levels(
            trace, classes, [call], [images[id(call.node), call.path]]
        )
        if not level.low == level.high == 0
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


@dataclasses.dataclass(frozen=True)
class Level:
    """What one constant channel sends into a layer, at all sizes.

    Attributes:
        root: The root of its class.
        low: The least value.
        high: The greatest value.
        drift: The greatest difference between the middles of two sizes.
    """

    root: int
    low: float
    high: float
    drift: float

    def _equal(self, difference):
        # False for what is not finite.
        return difference <= _EQUAL * max(abs(self.low), abs(self.high))

    @property
    def uniform(self):
        """Whether it is the same everywhere, at every size."""
        return self._equal(self.high - self.low)

    @property
    def foldable(self):
        """Whether it is the same far from the border, at every size."""
        finite = bool(np.isfinite(self.high - self.low))
        return finite and self._equal(self.drift)

    def reason(self, layer, can):
        """Why its constant cannot go into the bias of a layer."""
        if can and not self._equal(self.drift):
            return (
                f"sends {self.low:.3g} to {self.high:.3g} into "
                f"'{layer.name}': it depends on the image size"
            )
        return (
            f"sends {(self.low + self.high) / 2:.3g} into '{layer.name}', "
            "where no bias can replace it" + (" at the border" if can else "")
        )


def _levels(trace, constant, calls, images):
    """The `Level` of each constant channel that enters a layer."""
    levels = {}
    for call, at_sizes in zip(calls, images, strict=True):
        for place, tensor in enumerate(call.inputs):
            x = trace.tensors[id(tensor)]
            for axis in x.labelled:
                roots = trace.root_of[x.axes[axis]]
                going = np.flatnonzero(constant[roots])
                if not len(going):
                    continue
                bounds = [_bounds(a[place], axis, going) for a in at_sizes]
                for i, of_channel in zip(
                    going, np.stack(bounds, axis=-1), strict=True
                ):
                    key = (int(roots[i]), axis, i)
                    levels.setdefault(key, []).append(of_channel)
    with np.errstate(invalid="ignore"):
        return [
            Level(
                root,
                low=float(min(low.min() for low, _, _ in found)),
                high=float(max(high.max() for _, high, _ in found)),
                drift=float(max(np.ptp(middle) for _, _, middle in found)),
            )
            for (root, _, _), found in levels.items()
        ]


def _bounds(array, axis, places):
    """Least, greatest and middle value at some indices of an axis."""
    values = rows(array, axis)[places].astype("float64")
    array = np.moveaxis(array, axis, 0)[places]
    middle = array[(slice(None), *(n // 2 for n in array.shape[1:]))]
    return np.stack([values.min(axis=1), values.max(axis=1), middle], axis=1)


def bias_changes(trace, constant, values):
    """{id of a layer: (what its bias gains, the error at the border)}.

    Args:
        trace: A `Trace`.
        constant: One bool per id: constant classes that go.
        values: As in `execution.run`.
    """
    changes = {}
    for use, calls, images in sent(trace, constant, values):
        if id(use.layer) in changes:
            continue
        change, error = _contribution(
            trace, constant, values, use, calls, images
        )
        if change is not None:
            changes[id(use.layer)] = (change, error)
    return changes


def _contribution(trace, constant, values, use, calls, images):
    """What constants add to a layer's output, and the error at the border.

    Returns:
        `(change, error)`: an array with one value per index of `bias_axes`,
        or None, and a number.
    """
    layer = use.layer
    axes = rules.find(layer).bias_axes(layer)
    if not axes:
        return None, 0.0
    bare = None
    parts = []
    arriving = [
        (call, array)
        for call, at_sizes in zip(calls, images, strict=True)
        for (array,) in at_sizes
    ]
    for call, array in arriving:
        x = trace.tensors[id(call.inputs[0])]
        part = np.zeros_like(array)
        for axis in x.labelled:
            going = constant[trace.root_of[x.axes[axis]]]
            place = (slice(None),) * axis + (going,)
            part[place] = array[place]
        if not part.any():
            parts.append(None)
            continue
        bare = bare or _bare(layer, part, values)
        y = ops.convert_to_numpy(bare(part)).astype("float64")
        kept = {axis % y.ndim for axis in axes}
        others = tuple(i for i in range(y.ndim) if i not in kept)
        # What the middle of an image gets, far from its border.
        middle = tuple(
            slice(None) if i in kept else slice(n // 2, n // 2 + 1)
            for i, n in enumerate(y.shape)
        )
        change = y[middle]
        error = float(np.abs(y - change).max())
        parts.append((np.squeeze(change, others), error))
    if not any(parts):
        return None, 0.0
    # The calls of one layer have one bias.
    first = next(part for part in parts if part)
    error = max(
        (p[1] if p else 0.0)
        + float(np.abs((p[0] if p else 0.0) - first[0]).max())
        for p in parts
    )
    rounding = 1e-5 * float(np.abs(first[0]).max())
    return first[0], error if error > rounding else 0.0


def _bare(layer, x, values):
    """The same layer without bias and activation, with weights as counted."""
    changes = {"activation": None, "use_bias": False, "bias_axes": None}
    wraps = rules.inmost(layer) is not layer

    def edited(config):
        return {
            key: {**value, "config": edited(value["config"])}
            if wraps and key == "layer"
            else changes.get(key, value)
            for key, value in config.items()
        }

    bare = configs.anew(layer, edited)
    bare.build(np.shape(x))
    bare.set_weights(
        [
            values.get(id(v), ops.convert_to_numpy(v))
            for v in layer.weights
            if v is not getattr(rules.inmost(layer), "bias", None)
        ]
    )
    return bare
