"""Layers and operations that join several tensors."""

import keras
import numpy as np
from keras import KerasTensor
from keras import layers

from keras_nonconvex.graph import outputs_for
from keras_nonconvex.pruning.rules import judging
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule


@rule(
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    # x + scale * y, in InceptionResNetV2.
    "CustomScaleLayer",
    *"Add Subtract Multiply Maximum Minimum Where".split(),
)
class MergingRule(Rule):
    """Value by value, broadcast: what meets is tied."""

    def channels(self, layer, inputs, walk):
        shape = walk.shapes[0]
        out = positions(shape)
        merge = isinstance(layer, layers.Layer)
        tensors = [_aligned(x, len(shape), merge) for x in inputs]
        for axis in range(len(shape)):
            meeting = []
            for x in tensors:
                if x.shape[axis] == 1 and shape[axis] != 1:
                    walk.freeze(x.axes[axis], f"'{layer.name}' broadcasts it")
                else:
                    meeting.append(x.axes[axis])
            out = out.with_ids(walk.tied(meeting, layer), axis)
        if not merge:
            walk.cut_arrays(out)
        return out


@rule("Divide", "TrueDivide")
class DivisionRule(MergingRule):
    """Channels may be divided by what has none: 0 / 0 is no constant."""

    def channels(self, layer, inputs, walk):
        dividend = walk.argument(0)
        if len(inputs) != 1 or not isinstance(dividend, KerasTensor):
            raise CannotFollow(f"'{layer.name}' divides by them")
        return super().channels(layer, inputs, walk)


@rule(layers.Lambda, keras.Operation)
class JudgedRule(MergingRule):
    """Operations and lambdas that have no rule of their own.

    They are followed if they work value by value, and if zeros give something
    finite; see `judging`.
    """

    def channels(self, layer, inputs, walk):
        given = walk.call.inputs
        zero = None
        if len(inputs) == len(given) and len(walk.shapes) == 1:
            zero = judging.at_zero(
                lambda *tensors: outputs_for(walk.call, tensors)[0],
                walk.shapes[0],
                [t.dtype for t in given],
            )
        if zero is None or not np.isfinite(zero):
            raise CannotFollow(
                f"no rule for {type(layer).__name__} '{layer.name}'"
            )
        return super().channels(layer, inputs, walk)


@rule("Power")
class PowerRule(MergingRule):
    def channels(self, layer, inputs, walk):
        exponent = walk.argument(1)
        if not isinstance(exponent, (int, float)) or exponent <= 0:
            raise CannotFollow(f"'{layer.name}' is no power of them")
        return inputs[0]


def _aligned(x, rank, merge):
    """The tensor with the axes that broadcasting gives it.

    Merge layers put them behind the batch axis, operations before it.
    """
    more = rank - len(x.shape)
    at = 1 if merge else 0
    return Tensor(
        x.shape[:at] + (1,) * more + x.shape[at:],
        x.axes[:at] + (None,) * more + x.axes[at:],
    )


@rule(layers.Dot, "Matmul")
class ProductRule(Rule):
    """Contracted axes are tied; of zeros nothing is left in the sum."""

    def channels(self, layer, inputs, walk):
        if len(inputs) != 2:
            raise CannotFollow(f"'{layer.name}' has a constant factor")
        x, y = inputs
        if isinstance(layer, layers.Layer):
            axes = layer.axes
            axes = (axes, axes) if isinstance(axes, int) else tuple(axes)
            first, second = axes[0] % len(x.shape), axes[1] % len(y.shape)
            if layer.normalize:
                raise CannotFollow(f"'{layer.name}' normalizes them")
            shared = 1
        else:
            if len(x.shape) != len(y.shape):
                raise CannotFollow(f"'{layer.name}' broadcasts")
            first, second = len(x.shape) - 1, len(y.shape) - 2
            shared = len(x.shape) - 2
        tied = walk.tied([x.axes[first], y.axes[second]], layer)
        if tied is not None:
            walk.needs_zero(tied)
        # A constant times what changes is no constant.
        for t in inputs:
            for axis in t.labelled:
                walk.mixes(t, axis)
        batch = [
            walk.tied([x.axes[i], y.axes[i]], layer) for i in range(shared)
        ]
        rest = [
            t.axes[i]
            for t, gone in ((x, first), (y, second))
            for i in range(shared, len(t.shape))
            if i != gone
        ]
        out = positions(walk.shapes[0])
        for axis, ids in enumerate([*batch, *rest][: len(out.shape)]):
            out = out.with_ids(ids, axis)
        return out


@rule(layers.Concatenate, "Concatenate")
class ConcatenateRule(Rule):
    concatenates = True

    def channels(self, layer, inputs, walk):
        shape = walk.shapes[0]
        axis = layer.axis % len(shape)
        out = positions(shape)
        for other in range(len(shape)):
            meeting = [x.axes[other] for x in inputs]
            if other != axis:
                ids = walk.tied(meeting, layer)
            elif all(ids is None for ids in meeting):
                ids = None
            else:
                ids = np.concatenate(
                    [
                        walk.stuck(x.shape[axis], f"'{layer.name}' adds it")
                        if x.axes[axis] is None
                        else x.axes[axis]
                        for x in inputs
                    ]
                )
            out = out.with_ids(ids, other)
        return out
