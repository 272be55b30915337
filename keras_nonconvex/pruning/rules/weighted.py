"""Layers that mix all input channels into new ones."""

import numpy as np
from keras import layers

from keras_nonconvex.layouts import channel_axis
from keras_nonconvex.layouts import einsum_letters
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import find
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule
from keras_nonconvex.pruning.rules.elementwise import check_activation


def only_channels(layer, x, walk):
    """The channel axis; positions that have ids have to stay."""
    axis = channel_axis(layer, len(x.shape))
    for other in x.labelled:
        if other != axis:
            walk.freeze(
                x.axes[other], f"'{layer.name}' takes them for positions"
            )
    return axis


def _finished(layer, shape, ids, walk):
    """A convolution's output, once its kernels are declared."""
    if layer.use_bias:
        walk.use(layer, "bias", 0, ids, "bias")
    out = positions(shape).with_ids(ids, channel_axis(layer, len(shape)))
    check_activation(layer, out, walk)
    return out


@rule(layers.Dense)
class DenseRule(Rule):
    def channels(self, layer, inputs, walk):
        (x,) = inputs
        ids = walk.make(layer.units)
        walk.use(layer, "kernel", 0, x.ids, "input")
        walk.use(layer, "kernel", 1, ids, "filter")
        if layer.use_bias:
            walk.use(layer, "bias", 0, ids, "bias")
        out = Tensor(walk.shapes[0], x.with_ids(ids).axes)
        check_activation(layer, out, walk)
        return out

    def resized(self, layer, cut):
        return {"units": cut.outputs[0].shape[-1]}

    def bias_axes(self, layer):
        return (-1,)

    def folds_exactly(self, layer):
        return True

    def sums_channels(self, layer):
        return True


@rule(layers.SpectralNormalization)
class SpectralNormalizationRule(Rule):
    """As the layer inside, whose kernel it divides in training alone."""

    def channels(self, layer, inputs, walk):
        inner = find(layer.layer)
        if inner is None:
            kind = type(layer.layer).__name__
            raise CannotFollow(f"no rule for {kind} in '{layer.name}'")
        out = inner.channels(layer.layer, inputs, walk)
        last = len(layer.kernel.shape) - 1
        for use in list(walk.uses):
            if (id(use.variable), use.axis) == (id(layer.kernel), last):
                walk.use(layer, "vector_u", 1, use.ids, "state")
        return out

    def resized(self, layer, cut):
        changes = find(layer.layer).resized(layer.layer, cut)
        return {"layer": {"config": changes}}

    def bias_axes(self, layer):
        return find(layer.layer).bias_axes(layer.layer)

    def folds_exactly(self, layer):
        return find(layer.layer).folds_exactly(layer.layer)

    def sums_channels(self, layer):
        return find(layer.layer).sums_channels(layer.layer)


@rule(layers.Embedding)
class EmbeddingRule(Rule):
    def channels(self, layer, inputs, walk):
        ids = walk.make(layer.output_dim)
        walk.use(layer, layer.embeddings, 1, ids, "filter")
        return ids

    def resized(self, layer, cut):
        return {"output_dim": cut.outputs[0].shape[-1]}


class _Convolution(Rule):
    """Layers with `filters`, strides and padding."""

    def bias_axes(self, layer):
        return (channel_axis(layer, layer.rank + 2),)

    def folds_exactly(self, layer):
        # With zero padding a constant image is not constant at the border.
        return layer.padding == "valid" or set(layer.kernel_size) == {1}

    def sums_channels(self, layer):
        return True

    def resized(self, layer, cut):
        axis = channel_axis(layer, layer.rank + 2)
        return {"filters": cut.outputs[0].shape[axis]}


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
class ConvolutionRule(_Convolution):
    """With groups, which have to keep equally many: see `Walk.use`."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axis = only_channels(layer, x, walk)
        read, groups = x.axes[axis], layer.groups
        if read is None and groups > 1:
            raise CannotFollow(
                f"'{layer.name}' reads what must stay, in groups"
            )
        ids = walk.make(layer.filters)
        walk.use(layer, "kernel", -2, read, "input", groups)
        walk.use(layer, "kernel", -1, ids, "filter")
        return _finished(layer, walk.shapes[0], ids, walk)

    def resized(self, layer, cut):
        changes = super().resized(layer, cut)
        if layer.groups > 1:
            axis = channel_axis(layer, layer.rank + 2)
            depth = cut.weights["kernel"].shape[-2]
            changes["groups"] = cut.inputs[0].shape[axis] // depth
        return changes


@rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
class TransposedRule(_Convolution):
    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axis = only_channels(layer, x, walk)
        ids = walk.make(layer.filters)
        walk.use(layer, "kernel", -1, x.axes[axis], "input")
        walk.use(layer, "kernel", -2, ids, "filter")
        return _finished(layer, walk.shapes[0], ids, walk)

    def folds_exactly(self, layer):
        return set(layer.kernel_size) == set(layer.strides) == {1}


@rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
class DepthwiseRule(Rule):
    """A channel has `depth_multiplier` outputs; they go with it."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axis = only_channels(layer, x, walk)
        ids = x.axes[axis]
        if ids is None:
            raise CannotFollow(f"'{layer.name}' treats channels one by one")
        walk.use(layer, "kernel", -2, ids, "scale")
        ids = np.repeat(ids, layer.depth_multiplier)
        return _finished(layer, walk.shapes[0], ids, walk)


@rule(layers.SeparableConv1D, layers.SeparableConv2D)
class SeparableRule(_Convolution):
    def channels(self, layer, inputs, walk):
        (x,) = inputs
        axis = only_channels(layer, x, walk)
        ids = x.axes[axis]
        if ids is not None:
            walk.use(layer, "depthwise_kernel", -2, ids, "input")
            repeated = np.repeat(ids, layer.depth_multiplier)
            walk.use(layer, "pointwise_kernel", -2, repeated, "through")
        out = walk.make(layer.filters)
        walk.use(layer, "pointwise_kernel", -1, out, "filter")
        return _finished(layer, walk.shapes[0], out, walk)

    def sums_channels(self, layer):
        # Each of them times the product of two weights.
        return False


@rule(layers.EinsumDense)
class EinsumDenseRule(Rule):
    """Each letter of the equation is an axis, with its own channels."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        given, kernel, result = einsum_letters(layer, len(x.shape))
        axes = dict(zip(given, x.axes, strict=True))
        for i, letter in enumerate(kernel):
            if letter not in given:
                axes[letter] = walk.make(layer.kernel.shape[i])
                role = "filter"
            else:
                role = "scale" if letter in result else "input"
            walk.use(layer, "kernel", i, axes[letter], role)
        for letter in set(given) - set(kernel) - set(result):
            walk.freeze(axes[letter], f"'{layer.name}' sums over them")
        out = positions(walk.shapes[0])
        for i, letter in enumerate(result):
            out = out.with_ids(axes[letter], i)
        if layer.bias is not None:
            for i in range(1, len(layer.bias.shape) + 1):
                if layer.bias.shape[-i] == out.shape[-i]:
                    walk.use(layer, "bias", -i, out.axes[-i], "bias")
        check_activation(layer, out, walk)
        return out

    def resized(self, layer, cut):
        config = layer.get_config()["output_shape"]
        if isinstance(config, int):
            config = (config,)
        # A letter that the kernel has not may be unknown in the config.
        shape = cut.outputs[0].shape[-len(config) :]
        return {
            "output_shape": [
                None if old is None else new
                for old, new in zip(config, shape, strict=True)
            ]
        }

    def bias_axes(self, layer):
        _, _, result = einsum_letters(layer)
        if layer.bias is None:
            # Keras adds a bias of another axis to the wrong one at times.
            return (-1,) if self._made(layer) == [result[-1]] else ()
        return tuple(
            i - len(result)
            for i, letter in enumerate(result)
            if letter in layer.bias_axes
        )

    def folds_exactly(self, layer):
        return set(self._made(layer)) <= set(
            layer.bias_axes or self._made(layer)
        )

    def sums_channels(self, layer):
        return True

    def _made(self, layer):
        """The letters that the kernel brings."""
        given, kernel, _ = einsum_letters(layer)
        return [letter for letter in kernel if letter not in given]
