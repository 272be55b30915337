"""Networks as the papers feed them."""

import keras
import numpy as np

from keras_nonconvex import layouts
from keras_nonconvex.training.attachment import attach

_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_SVHN = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
# Name of a data set -> mean and standard deviation of its channels, as the
# code of most papers has them.
STATISTICS = {"cifar10": _CIFAR, "cifar100": _CIFAR, "svhn_cropped": _SVHN}


def normalized(model, mean, std):
    """A network of images in [0, 1] that subtracts a mean first.

    The layers of the model are built anew, behind
    `keras.layers.Normalization`: `(x - mean) / std`.

    Args:
        model: A functional model whose weights are not trained yet.
        mean: A tuple: the mean of each channel.
        std: A tuple: its standard deviation.

    Returns:
        A functional model with the same layer names.
    """
    inputs = keras.Input(model.input_shape[1:], name=model.input.name)
    x = keras.layers.Normalization(
        mean=mean, variance=np.square(std), name="normalization"
    )(inputs)

    def call(layer, *args, **kwargs):
        args = keras.tree.map_structure(lambda a: x if a is inputs else a, args)
        return layer(*args, **kwargs)

    return keras.models.clone_model(
        model, input_tensors=inputs, call_function=call
    )


def with_decay(model, decay, rules=()):
    """A model with weight decay as SGD of PyTorch has it, on every weight.

    decay / 2 * ||w||^2 is part of the loss for all trainable weights, biases
    and scales included. The weights of `rules` have penalties instead, which
    take a decay of their own.

    Args:
        model: A built model. Its layers are changed in place.
        decay: A number >= 0.
        rules: A dict as in `knc.attach`. Defaults to `()`: no penalties.

    Returns:
        A `ProximalModel` over the same layers and weights, to be compiled.
    """
    l2 = keras.regularizers.L2(decay / 2)
    others = {
        f"*/{weight.name}": l2
        for weight in model.trainable_variables
        if "kernel" not in weight.name
    }
    rules = dict(rules)
    # First in order, and not overwritten where the keys are the same.
    rules = {**rules, **others, **rules}
    free = (
        place
        for place in layouts.places(model)
        if not any(layouts.matches(key, place) for key in rules)
    )
    # A rule that no weight belongs to would be refused.
    if any(not place.slot.by_weight for place in free):
        rules["*"] = l2
    return attach(model, rules)
