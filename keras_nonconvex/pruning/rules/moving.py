"""Layers and operations that only move values: run on the ids themselves.

Where a value goes is asked of the layer: it is called on the ids of its
input. So data formats, orders of axes and paddings need no code of their own.
"""

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule

_MOST_VALUES = 2**26


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
            arrays = run(walk.call, [_image(x, axis) for x in inputs])
            for i, array in enumerate(arrays):
                axis_and_ids = _axis_of(array, walk)
                if axis_and_ids is None:
                    continue
                place, ids = axis_and_ids
                if outs[i].axes[place] is not None:
                    raise CannotFollow(
                        f"'{layer.name}' merges two axes of channels"
                    )
                outs[i] = outs[i].with_ids(ids, place)
        self.check(layer, inputs, outs, walk)
        return outs

    def check(self, layer, inputs, outs, walk):
        """Nothing can be wrong where the layer has no sizes."""


@rule(
    *"BroadcastTo Flip GetItem Repeat Roll Take Tile Slice".split(),
    *"DepthToSpace SpaceToDepth ExtractPatches".split(),
)
class Positional(Moving):
    """Moves positions; an axis of channels has to come out as it went in."""

    def check(self, layer, inputs, outs, walk):
        given = [ids for x in inputs for ids in x.axes if ids is not None]
        for out in outs:
            for axis in out.labelled:
                ids = walk.roots(out.axes[axis])
                if not any(np.array_equal(ids, walk.roots(g)) for g in given):
                    raise CannotFollow(f"'{layer.name}' rearranges them")


@rule(layers.Flatten, "Ravel")
class FlattenRule(Moving):
    """Every position has all channels, one after the other."""


@rule(layers.Reshape, "Reshape")
class ReshapeRule(Moving):
    def resized(self, layer, cut):
        shape = list(cut.outputs[0].shape[1:])
        shape = [-1 if n is None else n for n in shape]
        if shape.count(-1) > 1:
            return {}
        if isinstance(layer, layers.Layer):
            return {"target_shape": tuple(shape)}
        batch = layer.newshape[0]
        return {"newshape": (batch, *shape)}


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
    def channels(self, layer, inputs, walk):
        if layer.mode != "constant" or len(inputs) != 1:
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


def _image(x, axis):
    """An array of the tensor's shape, batch of 1, of its ids + 1, else 0."""
    shape = [1, *(2 if n is None else n for n in x.shape[1:])]
    ids = x.axes[axis] if axis < len(x.axes) else None
    if np.prod(shape) > _MOST_VALUES:
        raise CannotFollow(f"a tensor of {x.shape} is too large to follow")
    if ids is None or axis == 0:
        return np.zeros(shape, "int32")
    along = [1] * len(shape)
    along[axis] = -1
    return np.broadcast_to((ids + 1).reshape(along), shape).astype("int32")


def _axis_of(array, walk):
    """(axis, ids) of an array of ids + 1, where 0 is no channel's value.

    Where ids change along several axes, one is taken, the last if it can be,
    and what meets at one index there is tied.
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
    axis = (
        axes[-1]
        if axes[-1] == array.ndim - 1
        else max(axes, key=lambda i: array.shape[i])
    )
    rows = np.moveaxis(roots, axis, 0).reshape(array.shape[axis], -1)
    ids = rows.max(axis=1)
    if len(axes) > 1:
        places, _ = np.nonzero(rows >= 0)
        walk.tie(ids[places], rows[rows >= 0])
    empty = ids < 0
    ids[empty] = walk.new(int(empty.sum()))
    return axis, ids


def run(call, arrays):
    """A call's outputs for other inputs, as arrays."""
    twice = [
        ops.convert_to_tensor(np.concatenate([array, array]))
        for array in arrays
    ]
    try:
        outputs = graph.outputs_for(call, twice)
    except Exception as error:
        (first, *_) = str(error).splitlines() or [""]
        raise CannotFollow(
            f"'{call.operation.name}' cannot be followed: {first}"
        ) from error
    results = [ops.convert_to_numpy(y) for y in outputs]
    for y in results:
        if len(y) != 2 or not np.array_equal(y[0], y[1]):
            raise CannotFollow(f"'{call.operation.name}' moves the batch axis")
    return [y[:1] for y in results]
