"""Losses and their gradients on data, for any backend."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import graph


def gives_probabilities(model):
    """True for a softmax at the end, False for logits, None for neither."""
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return gives_probabilities(last)
    activation = getattr(last, "activation", None)
    if (
        isinstance(last, keras.layers.Softmax)
        or activation is keras.activations.softmax
    ):
        return True
    if activation is keras.activations.linear and model.output_shape[-1] > 1:
        return False
    return None


def loss_of(model, loss=None):
    """The loss to judge a model by: the given one, its own, or the usual one.

    Without any, a classifier that ends in a softmax or in logits gets the
    cross-entropy with whole numbers as labels.
    """
    if loss is None:
        loss = getattr(model, "loss", None)
    if loss is not None:
        return loss
    probabilities = (
        gives_probabilities(model) if model.outputs[1:] == [] else None
    )
    if probabilities is None:
        raise ValueError(
            "A loss is needed: compile the model with one or give `loss=`. "
            f"Received: model={model.name!r} without a loss"
        )
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=not probabilities
    )


def per_batch(model, x, y, batch_size, zeroed=(), loss=None):
    """Yields (part of all samples, {id of a weight: gradient}) per batch.

    A backend-free way to a gradient: one step of SGD at rate 1 with momentum,
    whose first velocity is minus the gradient, on a model that shares no
    weight with this one. Gradients are float64 arrays, of the mean loss.

    Args:
        model: A built model; nothing of it changes.
        x, y: Arrays or structures of arrays.
        batch_size: Samples per batch.
        zeroed: Ids of variables that count as zero.
        loss: A loss; that of `loss_of` if None.
    """
    copy = type(model).from_config(model.get_config())
    values = [
        np.zeros(v.shape) if id(v) in zeroed else ops.convert_to_numpy(v)
        for v in model.weights
    ]
    for variable in copy.weights:
        variable.regularizer = None
    optimizer = keras.optimizers.SGD(1.0, momentum=0.5)
    weights = None
    if loss is None and getattr(model, "compiled", False):
        weights = model._compile_config.config.get("loss_weights")
    copy.compile(
        optimizer,
        loss_of(model, loss),
        loss_weights=weights,
        auto_scale_loss=False,
    )
    optimizer.build(copy.trainable_variables)
    ids = [id(v) for v in model.trainable_variables]
    samples = len(keras.tree.flatten(x)[0])
    with graph.without_dropout(copy):
        for start in range(0, samples, batch_size):
            batch = [_part(data, start, batch_size) for data in (x, y)]
            copy.set_weights(values)
            for momentum in optimizer.momentums:
                momentum.assign(np.zeros(momentum.shape))
            copy.train_on_batch(*batch)
            found = [
                -ops.convert_to_numpy(momentum).astype("float64")
                for momentum in optimizer.momentums
            ]
            if not all(np.isfinite(gradient).all() for gradient in found):
                raise ValueError(
                    "The gradient of the data loss is not finite: look for "
                    "NaN in the data. Received: NaN or infinite values"
                )
            part = len(keras.tree.flatten(batch[0])[0]) / samples
            yield part, dict(zip(ids, found, strict=True))


def mean(model, x, y, batch_size, zeroed=(), loss=None):
    """{id of a weight: gradient of the mean loss over all samples}."""
    total = {}
    for part, found in per_batch(model, x, y, batch_size, zeroed, loss):
        for key, gradient in found.items():
            total[key] = total.get(key, 0.0) + part * gradient
    return total


def _part(data, start, size):
    if data is None:
        return None
    return keras.tree.map_structure(lambda a: a[start : start + size], data)
