"""Layers and operations that treat every value by itself."""

import numpy as np
from keras import activations
from keras import layers

from keras_nonconvex.pruning.rules import judging
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import find
from keras_nonconvex.pruning.rules.base import rule

_ELEMENTWISE = {
    getattr(activations, name)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu "
        "hard_tanh leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid "
        "silu soft_shrink softplus softsign sparse_plus sparse_sigmoid "
        "squareplus tanh tanh_shrink threshold"
    ).split()
}


_LAST_AXIS = {
    activations.softmax,
    activations.log_softmax,
    activations.sparsemax,
}


def check_activation(layer, x, walk):
    """Freezes channels unless the activation treats every value by itself.

    Keras' activations across channels run along the last axis.
    """
    activation = layer.activation
    if isinstance(activation, layers.Layer):
        inner = find(activation)
        if isinstance(inner, (Elementwise, PReLURule)):
            inner.channels(activation, [x], walk)
            return
        zero = None
    else:
        if _known(activation, _ELEMENTWISE):
            return
        zero = judging.activation_at_zero(activation, x.shape)
    if zero is not None and np.isfinite(zero):
        return
    name = getattr(activation, "__name__", type(activation).__name__)
    across = "over them" if zero is None else f"over them: {zero} at 0"
    last = _known(activation, _LAST_AXIS)
    for axis in [-1] if last else x.labelled:
        walk.freeze(x.axes[axis], f"'{layer.name}' applies {name} {across}")


def _known(activation, functions):
    return any(activation is f for f in functions)


@rule(
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
    "StochasticDepth",
    *(
        "Absolute Abs Cast Ceil Celu Cos Elu Erf Exp Expm1 Floor Gelu "
        "HardShrink HardSigmoid HardSilu HardTanh Identity LeakyRelu "
        "LogSigmoid Negative Relu Relu6 Round Selu Sigmoid Sign Silu Sin "
        "SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square "
        "Squareplus StopGradient Tan Tanh TanhShrink Threshold"
    ).split(),
)
class Elementwise(Rule):
    """f(0) is finite for each of these."""

    def channels(self, layer, inputs, walk):
        if len(inputs) != 1:
            raise CannotFollow(f"'{layer.name}' has {len(inputs)} inputs")
        return inputs[0]


@rule(layers.Dropout, layers.AlphaDropout)
class DropoutRule(Elementwise):
    def resized(self, layer, cut):
        (x,) = cut.outputs
        if layer.noise_shape is None:
            return {}
        return {
            "noise_shape": [
                n if mask is None or n in (None, 1) else left
                for n, mask, left in zip(
                    layer.noise_shape, x.masks, x.shape, strict=True
                )
            ]
        }


@rule("Clip")
class ClipRule(Elementwise):
    """Its bounds may be arrays, which are aligned with the last axes."""

    def resized(self, layer, cut):
        (x,) = cut.outputs
        return {
            name: _cut_like(getattr(layer, name), x.masks)
            for name in ("x_min", "x_max")
        }


def _cut_like(array, masks):
    """What stays of an array that is broadcast to a tensor's shape."""
    for axis, size in enumerate(np.shape(array)[::-1], start=1):
        if size > 1 and masks[-axis] is not None:
            array = np.compress(masks[-axis], array, axis=-axis)
    return array


@rule(layers.Masking)
class MaskingRule(Elementwise):
    """Zeros where all channels have one value: a removed one has zero.

    With that value 0 it changes nothing; its mask is computed elsewhere.
    """

    def channels(self, layer, inputs, walk):
        if layer.mask_value != 0:
            raise CannotFollow(f"'{layer.name}' compares all of them")
        return super().channels(layer, inputs, walk)


@rule(layers.Rescaling)
class RescalingRule(Elementwise):
    def channels(self, layer, inputs, walk):
        if np.ndim(layer.scale) or np.ndim(layer.offset):
            raise CannotFollow(f"'{layer.name}' has a value per channel")
        return super().channels(layer, inputs, walk)


@rule(layers.Activation)
class ActivationRule(Elementwise):
    def channels(self, layer, inputs, walk):
        check_activation(layer, inputs[0], walk)
        return super().channels(layer, inputs, walk)


@rule(layers.Softmax, "Softmax", "LogSoftmax")
class SoftmaxRule(Elementwise):
    def channels(self, layer, inputs, walk):
        (x,) = inputs[:1]
        axes = layer.axis
        for axis in axes if isinstance(axes, (list, tuple)) else [axes]:
            walk.freeze(
                x.axes[axis], f"'{layer.name}' applies softmax over them"
            )
        return super().channels(layer, inputs, walk)


@rule(layers.PReLU)
class PReLURule(Rule):
    def channels(self, layer, inputs, walk):
        (x,) = inputs
        if not layer.built:
            raise CannotFollow(f"'{layer.name}' has no weights yet")
        for axis, size in enumerate(layer.alpha.shape, start=1):
            if size == x.shape[axis]:
                walk.use(layer, "alpha", axis - 1, x.axes[axis], "state")
        return x


@rule("LayerScale")
class LayerScaleRule(Rule):
    """A scale per channel, as `keras.applications` has in ConvNeXt."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        walk.use(layer, "gamma", 0, x.ids, "scale")
        return x

    def resized(self, layer, cut):
        return {"projection_dim": cut.outputs[0].shape[-1]}


@rule("Glu")
class GluRule(Rule):
    """a * sigmoid(b) of the two halves of an axis: they go in pairs."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axis = layer.axis % len(x.shape)
        if x.axes[axis] is None:
            return Tensor(walk.shapes[0], x.axes)
        first, second = np.split(x.axes[axis], 2)
        walk.tie(first, second)
        return Tensor(walk.shapes[0], x.with_ids(first, axis).axes)
