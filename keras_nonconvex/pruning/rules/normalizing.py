"""Normalizations: over positions channels stay apart, over channels not."""

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import rule


@rule(layers.BatchNormalization)
class BatchNormalizationRule(Rule):
    """With `select`, it chooses channels where others read them too."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs[:1]
        axis = layer.axis % len(x.shape)
        _freeze_others(layer, x, axis, walk)
        x = walk.selected(x, axis)
        for name, role in (
            ("gamma", "scale"),
            ("beta", "shift"),
            ("moving_mean", "state"),
            ("moving_variance", "state"),
            # With `renorm`, of the batches that it was trained on.
            ("moving_stddev", "state"),
            ("renorm_mean", "state"),
            ("renorm_stddev", "state"),
        ):
            if getattr(layer, name, None) is not None:
                walk.use(layer, name, 0, x.axes[axis], role)
        return x


@rule(layers.GroupNormalization)
class GroupNormalizationRule(Rule):
    """Whole groups go: a group's statistics need all of its channels."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axis = layer.axis % len(x.shape)
        _freeze_others(layer, x, axis, walk)
        ids = x.axes[axis]
        if ids is not None:
            groups = ids.reshape(layer.groups, -1)
            for column in groups.T[1:]:
                walk.tie(groups[:, 0], column)
            if groups.shape[1] > 1:
                walk.mixes(x.with_ids(ids, axis), axis)
            if layer.groups == 1:
                walk.freeze(ids, f"'{layer.name}' normalizes over them")
        for name, role in (("gamma", "scale"), ("beta", "shift")):
            if getattr(layer, name, None) is not None:
                walk.use(layer, name, 0, ids, role)
        return x

    def resized(self, layer, cut):
        axis = layer.axis % len(cut.inputs[0].full)
        full, kept = cut.inputs[0].full[axis], cut.inputs[0].shape[axis]
        return {"groups": layer.groups * kept // full}


@rule(layers.LayerNormalization)
class LayerNormalizationRule(Rule):
    """The mean and variance of all channels, of which the dropped are zero.

    No layer of Keras has the mean and variance of more than it sees, but
    operations have: see `_OfMore`.
    """

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axes = _axes(layer, len(x.shape))
        if self._of_channels(layer, len(x.shape)):
            walk.mixes(x, -1)
            walk.needs_zero(x.ids)
            if layer.scale:
                walk.use(layer, "gamma", 0, x.ids, "scale")
            if layer.center:
                walk.use(layer, "beta", 0, x.ids, "shift")
            return x
        for axis in axes:
            walk.freeze(
                x.axes[axis],
                f"'{layer.name}' takes mean and variance over them",
            )
        return x

    def replaced(self, layer, cut, name):
        (x,) = cut.inputs
        of_channels = self._of_channels(layer, len(x.shape))
        if not of_channels or x.shape[-1] == x.full[-1]:
            return None
        return _OfMore(layer, x, name)

    def _of_channels(self, layer, rank):
        """Whether it is over the last axis, with weights that can be held."""
        held = layer.scale or not layer.center
        return held and _axes(layer, rank) == [rank - 1]


class _OfMore:
    """The layer normalization of a tensor and of zeros beside it.

    With n values, of which m are left, the rest zero:

        mean = sum x / n,    variance = sum x (x - mean) / n

    by operations; scale and shift are those of a stock layer.

    Args:
        layer: The `LayerNormalization`.
        x: The `Kept` of its input.
        name: Gives a tensor's operation a name.
    """

    def __init__(self, layer, x, name):
        self.layer, self.name = layer, name
        self.count = x.full[-1]
        self.affine = None
        if layer.scale:
            axes = "abcdefg"[: len(x.shape)]
            self.affine = layers.EinsumDense(
                f"{axes},{axes[-1]}->{axes}",
                output_shape=x.shape[1:],
                bias_axes=axes[-1] if layer.center else None,
                name=layer.name,
                dtype=layer.dtype_policy,
                trainable=layer.trainable,
            )

    @property
    def weights(self):
        return self.affine.weights if self.affine else []

    def set_weights(self, weights):
        self.affine.set_weights(weights)

    def __call__(self, x):
        def step(tensor, what):
            self.name(tensor, f"{self.layer.name}_{what}")
            return tensor

        def total(tensor, what):
            return step(ops.sum(tensor, axis=-1, keepdims=True), what)

        dtype = x.dtype
        if dtype in ("float16", "bfloat16"):
            x = step(ops.cast(x, "float32"), "float32")
        mean = step(ops.divide(total(x, "sum"), self.count), "mean")
        centered = step(ops.subtract(x, mean), "centered")
        squares = total(step(ops.multiply(x, centered), "product"), "squares")
        variance = step(ops.divide(squares, self.count), "variance")
        safe = step(ops.add(variance, self.layer.epsilon), "epsilon")
        factor = step(ops.rsqrt(safe), "factor")
        x = step(ops.multiply(centered, factor), "normalized")
        if x.dtype != dtype:
            x = step(ops.cast(x, dtype), "dtype")
        return self.affine(x) if self.affine else x


class _RootMeanSquare(Rule):
    """Zeros change a mean of squares by a known factor alone."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        for axis in _axes(layer, len(x.shape)):
            walk.mixes(x, axis)
            walk.needs_zero(x.axes[axis])
        return x


@rule(layers.UnitNormalization, "Normalize")
class UnitNormalizationRule(_RootMeanSquare):
    """x / ||x||: zeros do not matter in any norm."""

    keeps_zeros = True


@rule(layers.RMSNormalization)
class RMSNormalizationRule(_RootMeanSquare):
    """x scale / sqrt(sum x^2 / n + epsilon), with n, scale, epsilon anew."""

    def channels(self, layer, inputs, walk):
        x = super().channels(layer, inputs, walk)
        for i, axis in enumerate(_axes(layer, len(x.shape))):
            walk.use(layer, "scale", i, x.axes[axis], "scale")
        return x

    def resized(self, layer, cut):
        return {"epsilon": layer.epsilon * self._factor(layer, cut)}

    def rescaled(self, layer, cut, weights):
        factor = self._factor(layer, cut) ** 0.5
        return {"scale": weights["scale"] * factor}

    def _factor(self, layer, cut):
        """How many times more values there were."""
        (x,) = cut.inputs
        factor = 1.0
        for axis in _axes(layer, len(x.full)):
            if x.masks[axis] is not None:
                factor *= x.full[axis] / x.shape[axis]
        return factor


def _freeze_others(layer, x, axis, walk):
    """What is normalized over has to stay."""
    for other in x.labelled:
        if other != axis:
            walk.freeze(x.axes[other], f"'{layer.name}' normalizes over them")


def _axes(layer, rank):
    """The axes that a normalization goes over."""
    axes = layer.axis if np.iterable(layer.axis) else [layer.axis]
    return [axis % rank for axis in axes]


@rule(layers.Normalization)
class NormalizationRule(Rule):
    """By a fixed mean and variance per channel."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        if x.labelled:
            raise CannotFollow(f"'{layer.name}' has a mean per channel")
        return x
