"""What constants arrive where: one pass of noise measures all of them.

Where sizes are free, it is one pass at each of several sizes, since padding
or a sum may depend on them.
"""

import collections
import dataclasses

import numpy as np

from keras_nonconvex.pruning.channels.measuring import measured
from keras_nonconvex.pruning.channels.measuring import rows

# What arrives at a layer that reads constants with its weights `uses`:
# `images` are the values that each of its `calls` gets, one list of the inputs
# for each size that was tried.
Sent = collections.namedtuple("Sent", "layer uses calls images")


def rounding(array):
    """By which part of its size a constant may seem to vary.

    Kernels sum in another order at borders.
    """
    return 1e-12 if array.dtype == np.float64 else 1e-6


def sent(trace, constant, values=None):
    """The constants that arrive at each reader, as a list of `Sent`.

    Args:
        trace: A `Trace`.
        constant: One bool per id: the classes in question.
        values: As in `execution.run`: weights that count as others.
    """
    uses, calls = collections.defaultdict(list), collections.defaultdict(list)
    for use in trace.of_role("input"):
        if constant[trace.root_of[use.ids]].any():
            uses[id(use.layer)].append(use)
    for call in trace.calls:
        if id(call.operation) in uses:
            calls[id(call.operation)].append(call)
    arrays = images(trace, sum(calls.values(), []), values)
    return [
        Sent(
            uses[key][0].layer,
            uses[key],
            calls[key],
            [arrays[id(call.node), call.path] for call in calls[key]],
        )
        for key in uses
    ]


def images(trace, calls, values):
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


@dataclasses.dataclass(frozen=True)
class Level:
    """What one constant channel sends into a layer, at all sizes.

    Attributes:
        root: The root of its class.
        axis: The axis of the input on which it is.
        place: Its index there.
        low: The least value.
        high: The greatest value.
        drift: The greatest difference between the middles of two sizes.
        rounding: By which part of its size equal values may differ.
    """

    root: int
    axis: int
    place: int
    low: float
    high: float
    drift: float
    rounding: float

    def _equal(self, difference):
        # False for what is not finite.
        return difference <= self.rounding * max(abs(self.low), abs(self.high))

    @property
    def zero(self):
        """Whether it is zero everywhere."""
        return self.low == self.high == 0

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
        """Why its constant cannot go into the bias of a layer.

        Args:
            layer: The layer.
            can: Whether it can have a bias.
        """
        if can and not self._equal(self.drift):
            return (
                f"sends {self.low:.3g} to {self.high:.3g} into "
                f"'{layer.name}': it depends on the image size"
            )
        return (
            f"sends {(self.low + self.high) / 2:.3g} into '{layer.name}', "
            "where no bias can replace it" + (" at the border" if can else "")
        )


def levels(trace, constant, calls, images):
    """The `Level` of each constant channel that enters a layer.

    Args:
        trace: A `Trace`.
        constant: One bool per id: the classes in question.
        calls: The calls of the layer.
        images: What they get, as in `Sent`.
    """
    found = {}
    for call, at_sizes in zip(calls, images, strict=True):
        for n, tensor in enumerate(call.inputs):
            x = trace.tensors[id(tensor)]
            for axis in x.labelled:
                roots = trace.root_of[x.axes[axis]]
                going = np.flatnonzero(constant[roots])
                if not len(going):
                    continue
                bounds = [_bounds(a[n], axis, going) for a in at_sizes]
                part = rounding(at_sizes[0][n])
                for i, of_channel in zip(
                    going.tolist(), np.stack(bounds, axis=-1), strict=True
                ):
                    key = (int(roots[i]), axis, i)
                    found.setdefault(key, []).append((*of_channel, part))
    with np.errstate(invalid="ignore"):
        return [
            Level(
                *key,
                low=float(min(low.min() for low, *_ in seen)),
                high=float(max(high.max() for _, high, *_ in seen)),
                drift=float(max(np.ptp(middle) for _, _, middle, _ in seen)),
                rounding=max(part for *_, part in seen),
            )
            for key, seen in found.items()
        ]


def _bounds(array, axis, places):
    """Least, greatest and middle value at some indices of an axis."""
    values = rows(array, axis)[places].astype("float64")
    array = np.moveaxis(array, axis, 0)[places]
    middle = array[(slice(None), *(n // 2 for n in array.shape[1:]))]
    return np.stack([values.min(axis=1), values.max(axis=1), middle], axis=1)
