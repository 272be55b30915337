"""Layers that mix all input channels into new ones."""

from keras import activations
from keras import layers

from keras_nonconvex.pruning.rules.base import Rule
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


def freeze_if_mixed(activation, ids, layer, space):
    """Freezes channels unless their activation is known to be elementwise."""
    if activation not in _ELEMENTWISE:
        name = getattr(activation, "__name__", repr(activation))
        space.freeze(ids, f"'{layer.name}' applies {name} over them")


class _Mixing(Rule):
    size = None

    def channels(self, layer, inputs, space):
        (x,) = inputs
        kernel_rank = len(layer.kernel.shape)
        ids = space.new(layer.kernel.shape[-1])
        ids = space.use(layer, "kernel", kernel_rank - 1, ids, "filter")
        space.use(layer, "kernel", kernel_rank - 2, x.ids, "input")
        if layer.use_bias:
            space.use(layer, "bias", 0, ids, "bias")
        freeze_if_mixed(layer.activation, ids, layer, space)
        return ids

    def resized(self, layer, keep_out):
        return {self.size: int(keep_out.sum())}


@rule(layers.Dense)
class DenseRule(_Mixing):
    size = "units"

    def folds_constants(self, layer):
        return True


@rule(layers.Conv2D)
class ConvRule(_Mixing):
    size = "filters"

    def channels(self, layer, inputs, space):
        if layer.groups != 1:
            return space.freeze_all(
                layer, inputs, f"'{layer.name}' is a grouped convolution"
            )
        return super().channels(layer, inputs, space)

    def folds_constants(self, layer):
        # With zero padding a constant image is not constant at the border.
        return layer.padding == "valid" or set(layer.kernel_size) == {1}
