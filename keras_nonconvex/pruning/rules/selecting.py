"""Operations that choose among channels: slices, takes, repeats, flips.

Such an operation is `take(x[key], indices, axis)`: a key that leaves the
channels whole, and then a choice of channels. Both are found by asking the
operation itself, and the small model has them with what is left.
"""

import collections
import math

import numpy as np

from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule
from keras_nonconvex.pruning.rules.moving import MOST_VALUES
from keras_nonconvex.pruning.rules.moving import CannotFollow
from keras_nonconvex.pruning.rules.moving import Positional
from keras_nonconvex.pruning.rules.moving import run

# A call that is `take(x[key], indices, axis)`. Entry `place` of the key is that
# of the channels, which it leaves whole; `given` are their ids. `first` is the
# call that x enters: the same one, or the first of several in a row.
Pick = collections.namedtuple("Pick", "key place axis given indices first")

# What stands for the size of a free axis.
_FREE = 64


def pick_of(calls, x, key, entry, axis):
    """The `Pick` that calls in a row are together, None if they are none.

    Args:
        calls: The calls, each of which reads what the one before returns.
        x: The `Tensor` that enters, with channels on one axis.
        key: The key that there would be, with one entry per axis or more.
        entry: Which of its entries is that of the channels.
        axis: Where the channels would be in the result.
    """
    (place,) = x.labelled
    shape = [1, *(_FREE if n is None else n for n in x.shape[1:])]
    if math.prod(shape) > MOST_VALUES:
        return None
    along = [1] * len(shape)
    along[place] = -1
    # From 1 on: a zero is what a padding puts in.
    numbers = np.arange(1, shape[place] + 1, dtype="int32").reshape(along)
    every = np.arange(1, math.prod(shape) + 1, dtype="int32").reshape(shape)
    found, moved = [np.broadcast_to(numbers, shape)], [every]
    try:
        for call in calls:
            found, moved = run(call, found), run(call, moved)
    except CannotFollow:
        return None
    (found,), (moved,) = found, moved
    if found.ndim <= axis:
        return None
    numbers = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)[:, 0]
    if not numbers.all():
        return None
    indices = numbers - 1
    if not np.array_equal(moved, np.take(every[key], indices, axis=axis)):
        return None
    return Pick(key, entry, axis, x.axes[place], indices, calls[0])


@rule(*"Flip Repeat Roll Take Tile".split())
class SelectingRule(Positional):
    """Each index of the output is an index of the input, or it only moves."""

    def channels(self, layer, inputs, walk):
        pick = None
        if len(inputs) == len(walk.call.inputs) == len(walk.shapes) == 1:
            (x,) = inputs
            if len(x.labelled) == 1:
                pick = self.picked(x, walk)
        if pick is None:
            return super().channels(layer, inputs, walk)
        walk.pick(pick)
        out = positions(walk.shapes[0])
        return out.with_ids(pick.given[pick.indices], pick.axis)

    def picked(self, x, walk):
        """The `Pick` that the call at hand is, None if it is none."""
        (place,) = x.labelled
        key = self.key(x, walk)
        axes = [i for i, entry in enumerate(key) if entry is not None]
        if len(axes) != len(x.shape) or key[0] != slice(None):
            return None
        entry = axes[place]
        axis = sum(not isinstance(k, int) for k in key[:entry])
        if not isinstance(key[entry], slice):
            return None
        key = (*key[:entry], slice(None), *key[entry + 1 :])
        return pick_of([walk.call], x, key, entry, axis)

    def key(self, x, walk):
        """The operation's key: one entry per axis of the input, or more."""
        return (slice(None),) * len(x.shape)


@rule("GetItem")
class GetItemRule(SelectingRule):
    def key(self, x, walk):
        key = walk.argument(1, "key")
        key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
        place = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
        rest = key[place + 1 :]
        read = sum(k is not None for k in (*key[:place], *rest))
        whole = (slice(None),) * (len(x.shape) - read)
        return (*key[:place], *whole, *rest)


@rule("Slice")
class SliceRule(SelectingRule):
    def key(self, x, walk):
        starts = walk.argument(1, "start_indices")
        sizes = walk.call.operation.shape
        key = [
            slice(start, start + size) if size >= 0 else slice(start, None)
            for start, size in zip(starts, sizes, strict=True)
        ]
        # The batch axis has another size here.
        return (slice(None) if key[0].start == 0 else key[0], *key[1:])


@rule("BroadcastTo")
class BroadcastRule(Positional):
    def resized(self, layer, cut):
        return {"shape": (layer.shape[0], *cut.outputs[0].shape[1:])}
