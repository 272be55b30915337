"""Layers and operations that only move values: run on the ids themselves.

Where a value goes is asked of the layer: it is called on the ids of its
input. So data formats, orders of axes and paddings need no code of their own.

Where a tensor is large or its size is free, fewer positions stand for all of
them: what comes out of two such numbers of positions has to be the same.
"""

import dataclasses
import math

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule

# A tensor of fixed size with more values is followed on fewer positions.
_FEW_VALUES = 2**16
MOST_VALUES = 2**24

# What stands for the size of an axis of positions, in turn: slices need some
# positions to be left, blocks and frames an even division.
_STAND_INS = (4, 6, 8, 12, 16, 56, 60, 64, 240, 1024, 15360)


@rule(
    layers.Permute,
    layers.RepeatVector,
    *"Copy ExpandDims Moveaxis Squeeze Swapaxes Transpose".split(),
    *"Stack Unstack".split(),
)
class Moving(Rule):
    """Axes are moved whole, or one index after the other."""

    concatenates = True

    def channels(self, layer, inputs, walk):
        if len(inputs) != len(walk.call.inputs):
            raise CannotFollow(f"'{layer.name}' has a mask")
        inputs = walk.comparable(inputs, layer)
        outs = [positions(shape) for shape in walk.shapes]
        for axis in sorted({a for x in inputs for a in x.labelled}):
            found = self.moved(inputs, axis, walk)
            if not any(found):
                raise CannotFollow(f"'{layer.name}' leaves none of them")
            for i, moved in enumerate(found):
                if moved is None:
                    continue
                place, ids = moved.axis, moved.ids(walk)
                if outs[i].axes[place] is not None:
                    raise CannotFollow(
                        f"'{layer.name}' merges two axes of channels"
                    )
                outs[i] = outs[i].with_ids(ids, place)
        self.check(layer, inputs, outs, walk)
        return outs

    def moved(self, inputs, axis, walk):
        """Where the ids of an axis go: one `Moved`, or None, per output."""
        sizes = [n for x in inputs for n in x.shape[1:]]
        fixed = None not in sizes
        if not fixed or math.prod(sizes) > _FEW_VALUES:
            found = _on_fewer_positions(inputs, axis, walk)
            if found is not None:
                return found
        if not fixed:
            raise CannotFollow(
                f"'{walk.call.operation.name}' moves them as the size says"
            )
        arrays = run(walk.call, [_image(x, axis) for x in inputs])
        return [_moved(array, walk) for array in arrays]

    def check(self, layer, inputs, outs, walk):
        """Nothing can be wrong where the layer has no sizes."""


class Positional(Moving):
    """Moves positions; an axis of channels has to come out as it went in."""

    def check(self, layer, inputs, outs, walk):
        given = [ids for x in inputs for ids in x.axes if ids is not None]
        for out in outs:
            for axis in out.labelled:
                ids = walk.roots(out.axes[axis])
                if not any(np.array_equal(ids, walk.roots(g)) for g in given):
                    raise CannotFollow(f"'{layer.name}' rearranges them")


@rule("DepthToSpace", "ExtractPatches", "SpaceToDepth")
class BlockRule(Moving):
    """Blocks of positions become channels or come from them, always whole."""

    def check(self, layer, inputs, outs, walk):
        for x in (*inputs, *outs):
            place = layouts.channel_axis(layer, len(x.shape))
            if set(x.labelled) - {place}:
                raise CannotFollow(f"'{layer.name}' needs all of its blocks")


@rule(layers.Flatten, "Ravel")
class FlattenRule(Moving):
    """Every position has all channels, one after the other."""


class Reshaping(Moving):
    """Values keep their order; axes before and after channels are left out."""

    def moved(self, inputs, axis, walk):
        (x,), (shape,) = inputs, walk.shapes
        old, new = x.shape[1:], shape[1:]
        if None in (*old, *new) or math.prod(old) != math.prod(new):
            return super().moved(inputs, axis, walk)
        place = axis - 1
        before, after = math.prod(old[:place]), math.prod(old[place + 1 :])
        ends = range(len(new) + 1)
        first = next((i for i in ends if math.prod(new[:i]) == before), 0)
        last = next((i for i in ends if math.prod(new[i:]) == after), len(new))
        ids = np.repeat(x.axes[axis], after if last == len(new) else 1)
        ids = np.tile(ids, before if first == 0 else 1)
        along = [1] * first + [*new[first:last]] + [1] * (len(new) - last)
        few = [
            min(n, 2) if i < first or i >= last else n
            for i, n in enumerate(new)
        ]
        array = np.broadcast_to((ids + 1).reshape(1, *along), [1, *few])
        return [_moved(array, walk)]

    def resized(self, layer, cut):
        is_layer = isinstance(layer, layers.Layer)
        given = layer.target_shape if is_layer else layer.newshape[1:]
        # What is left open stays so: a nested model of one size may be called
        # on tensors of others.
        sizes = zip(cut.outputs[0].shape[1:], given, strict=True)
        shape = tuple(-1 if n is None or g == -1 else n for n, g in sizes)
        if shape.count(-1) > 1:
            return {}
        if is_layer:
            return {"target_shape": shape}
        return {"newshape": (layer.newshape[0], *shape)}


@rule(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
class ZeroPaddingRule(Moving):
    """Zeros among channels (parameter-free shortcuts) are channels too."""

    def resized(self, layer, cut):
        padding = layer.padding
        first = 2 if layouts.channels_first(layer) else 1
        if np.ndim(padding) == 1:
            return {"padding": _padding(cut, 1, padding)}
        return {
            "padding": tuple(
                _padding(cut, axis, pair)
                for axis, pair in enumerate(padding, start=first)
            )
        }


@rule("Pad")
class PadRule(Moving):
    """Zeros among channels are channels; positions are padded by anything."""

    def channels(self, layer, inputs, walk):
        if len(inputs) != 1:
            raise CannotFollow(f"'{layer.name}' pads by what it finds")
        (x,) = inputs
        width = np.broadcast_to(layer.pad_width, (len(x.shape), 2))
        if not any(np.any(width[axis]) for axis in x.labelled):
            return Tensor(walk.shapes[0], x.axes)
        if layer.mode != "constant":
            raise CannotFollow(f"'{layer.name}' pads by what it finds")
        value = walk.argument(1, "constant_values")
        if value:
            raise CannotFollow(f"'{layer.name}' pads with {value}")
        return super().channels(layer, inputs, walk)

    def resized(self, layer, cut):
        rank = len(cut.inputs[0].full)
        width = np.broadcast_to(layer.pad_width, (rank, 2)).tolist()
        return {
            "pad_width": [
                _padding(cut, axis, pair) for axis, pair in enumerate(width)
            ]
        }


@rule("Split")
class SplitRule(Moving):
    def resized(self, layer, cut):
        (x,) = cut.inputs
        axis = layer.axis % len(x.full)
        sizes = [out.shape[axis] for out in cut.outputs]
        if None in sizes:
            return {}
        return {"indices_or_sections": np.cumsum(sizes[:-1]).tolist()}


def _padding(cut, axis, pair):
    """(before, after) of one axis once channels are gone."""
    mask = cut.outputs[0].masks[axis]
    before, after = (int(n) for n in pair)
    if mask is None:
        return (before, after)
    return (
        int(mask[:before].sum()),
        int(mask[len(mask) - after :].sum()),
    )


def _image(x, axis, most=math.inf):
    """An array of the tensor's shape, batch of 1, of its ids + 1, else 0.

    Axes without ids have at most so many positions, as free ones have.
    """
    shape = [
        len(ids) if ids is not None else most if n is None else min(n, most)
        for n, ids in zip(x.shape[1:], x.axes[1:], strict=True)
    ]
    if math.prod(shape) > MOST_VALUES:
        raise CannotFollow(f"a tensor of {x.shape} is too large to follow")
    ids = x.axes[axis] if axis < len(x.axes) else None
    if ids is None or axis == 0:
        return np.zeros([1, *shape], "int32")
    along = [1] * len(x.shape)
    along[axis] = -1
    return np.broadcast_to(
        (ids + 1).astype("int32").reshape(along), [1, *shape]
    )


@dataclasses.dataclass(frozen=True)
class Moved:
    """Where ids are in an output: which ones at each index of one axis.

    Attributes:
        axis: The axis.
        size: How many indices it has.
        pairs: An array of rows (index, id of a class), all different.
    """

    axis: int
    size: int
    pairs: np.ndarray

    def ids(self, walk):
        """One id per index; what meets at one index is tied."""
        ids = np.full(self.size, -1)
        places, roots = self.pairs.T
        ids[places] = roots
        walk.tie(ids[places], roots)
        empty = ids < 0
        ids[empty] = walk.new(int(empty.sum()))
        return ids

    def __eq__(self, other):
        return (self.axis, self.size) == (other.axis, other.size) and (
            np.array_equal(self.pairs, other.pairs)
        )


def _moved(array, walk):
    """The `Moved` of an array of ids + 1, where 0 is no channel's value.

    Where ids change along several axes, one is taken, the last if it can be;
    see `Walk.chosen`.
    """
    known = array > 0
    if not known.any():
        return None
    roots = np.where(known, walk.roots(np.where(known, array - 1, 0)), -1)
    highest = roots.max()
    least = np.where(known, roots, highest + 1)

    def changes(axis):
        low, high = least.min(axis=axis), roots.max(axis=axis)
        return bool(np.any(high > low))

    axes = [i for i in range(1, array.ndim) if changes(i)]
    if not axes:
        # There is one class everywhere.
        axes = [i for i in range(1, array.ndim) if array.shape[i] == 1]
        if not axes:
            raise CannotFollow("one channel is spread over several axes")
    axis = walk.chosen(axes)
    if axis is None:
        axis = (
            axes[-1]
            if axes[-1] == array.ndim - 1
            else max(axes, key=lambda i: array.shape[i])
        )
    rows = np.moveaxis(roots, axis, 0).reshape(array.shape[axis], -1)
    places, others = np.nonzero(rows >= 0)
    # Numbers are told apart much faster than rows.
    places, found = np.divmod(
        np.unique(places * (highest + 1) + rows[places, others]), highest + 1
    )
    return Moved(axis, len(rows), np.stack([places, found], axis=1))


def _on_fewer_positions(inputs, axis, walk):
    """What two stand-ins for the number of positions agree on, or None."""
    earlier = None
    for most in _STAND_INS:
        try:
            images = [_image(x, axis, most) for x in inputs]
            found = [_moved(y, walk) for y in run(walk.call, images)]
        except CannotFollow:
            continue
        for moved, shape in zip(found, walk.shapes, strict=True):
            if moved and moved.size != shape[moved.axis]:
                break
        else:
            if earlier is not None:
                return found if found == earlier else None
            earlier = found
    return None


def run(call, arrays):
    """A call's outputs for other inputs, as arrays."""
    batch = [t.shape[0] for t in (*call.inputs, *call.outputs) if t.shape[0]]
    batch = batch[0] if batch else 2
    repeated = [
        ops.convert_to_tensor(np.concatenate([array] * batch))
        for array in arrays
    ]
    try:
        outputs = graph.outputs_for(call, repeated)
    except Exception as error:
        (first, *_) = str(error).splitlines() or [""]
        raise CannotFollow(
            f"'{call.operation.name}' cannot be followed: {first}"
        ) from error
    results = [ops.convert_to_numpy(y) for y in outputs]
    for y in results:
        if len(y) != batch or not np.all(y[:1] == y):
            raise CannotFollow(f"'{call.operation.name}' moves the batch axis")
        if not y.size:
            raise CannotFollow(f"'{call.operation.name}' leaves nothing")
    return [y[:1] for y in results]
