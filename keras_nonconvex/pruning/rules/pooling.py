"""Layers that pool, resample, crop or reduce positions."""

from keras import layers

from keras_nonconvex.layouts import channel_axis
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule
from keras_nonconvex.pruning.rules.weighted import only_channels


def _all_ranks(*stems):
    """The layers of these names for 1, 2 and 3 dimensions, where they are."""
    names = [f"{stem}{rank}D" for stem in stems for rank in (1, 2, 3)]
    return [getattr(layers, n) for n in names if hasattr(layers, n)]


@rule(
    *_all_ranks(
        "MaxPooling",
        "AveragePooling",
        "GlobalAveragePooling",
        "GlobalMaxPooling",
        "AdaptiveAveragePooling",
        "AdaptiveMaxPooling",
        "UpSampling",
        "Cropping",
    ),
    layers.Resizing,
    layers.CenterCrop,
    *"AveragePool MaxPool AdaptiveAveragePool AdaptiveMaxPool".split(),
    "Resize",
)
class PoolingRule(Rule):
    def channels(self, layer, inputs, walk):
        x = inputs[0]
        axis = only_channels(layer, x, walk)
        shape = walk.shapes[0]
        out = positions(shape)
        if isinstance(layer, _WITHOUT_FORMAT) or len(shape) == len(x.shape):
            return out.with_ids(x.axes[axis], channel_axis(layer, len(shape)))
        # Pooled to (batch, channels).
        return out.with_ids(x.axes[axis])


# 1D layers that know channels last only.
_WITHOUT_FORMAT = (layers.Cropping1D, layers.UpSampling1D)


@rule(
    *"Mean Max Min Sum Amax Amin Var Std Logsumexp Prod Any All".split(),
    *"Argmax Argmin CountNonzero Median Norm".split(),
)
class ReductionRule(Rule):
    """Positions may be reduced; over channels a reduction mixes them.

    A sum or a norm is the same without what is zero.
    """

    def channels(self, layer, inputs, walk):
        if len(inputs) != 1:
            raise CannotFollow(f"'{layer.name}' has {len(inputs)} inputs")
        (x,) = inputs
        rank = len(x.shape)
        axes = layer.axis
        if axes is None:
            axes = range(rank)
        axes = {a % rank for a in ([axes] if isinstance(axes, int) else axes)}
        if 0 in axes:
            raise CannotFollow(f"'{layer.name}' reduces the batch")
        for axis in axes:
            if _ignores_zeros(layer):
                walk.mixes(x, axis)
                walk.needs_zero(x.axes[axis])
            else:
                walk.freeze(x.axes[axis], f"'{layer.name}' reduces over them")
        kept = [
            None if i in axes else ids
            for i, ids in enumerate(x.axes)
            if layer.keepdims or i not in axes
        ]
        out = positions(walk.shapes[0])
        for axis, ids in enumerate(kept):
            out = out.with_ids(ids, axis)
        return out


def _ignores_zeros(layer):
    """Whether a reduction is the same without what is zero."""
    kind = type(layer).__name__
    if kind == "Norm":
        # Of the least, zeros are a part.
        return not isinstance(layer.ord, (int, float)) or layer.ord > 0
    return kind in ("Sum", "CountNonzero")
