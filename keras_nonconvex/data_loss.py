"""The data loss of a model and its gradients, on any backend."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import graph


def gives_probabilities(model):
    """Whether the first output of a model is one of probabilities.

    Args:
        model: A functional model.

    Returns:
        True where it ends in a softmax, False where it ends in several
        logits, None for anything else.
    """
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

    A classifier without a loss that ends in a softmax or in logits gets the
    cross-entropy with whole numbers as labels.

    Args:
        model: A functional model.
        loss: A Keras loss, or None for the one that the model was compiled
            with. Defaults to `None`.
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
            "A loss is needed: compile the model with one or pass `loss=`. "
            f"Received: model={model.name!r} without a loss"
        )
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=not probabilities
    )


def per_batch(model, x, y, batch_size, zeroed=(), loss=None):
    """Yields the gradient of the mean loss, batch by batch.

    This way to a gradient is the same on every backend: one step of SGD at
    rate 1 with momentum, whose first velocity is minus the gradient, on a
    copy that shares no weight with the model.

    Args:
        model: A built functional model, which stays as it is.
        x: Inputs, an array or a structure of arrays.
        y: Targets, likewise, or None.
        batch_size: The samples per batch.
        zeroed: Ids of variables whose values count as zero. Defaults to `()`.
        loss: A Keras loss, or None for that of `loss_of`. Defaults to `None`.

    Yields:
        (fraction of all samples that are in the batch, dict of the id of a
        trainable variable -> float64 array).
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
            gradients = [
                -ops.convert_to_numpy(momentum).astype("float64")
                for momentum in optimizer.momentums
            ]
            if not all(np.isfinite(gradient).all() for gradient in gradients):
                raise ValueError(
                    "The gradient of the data loss is not finite: look for "
                    "NaN in the data. Received: NaN or infinite gradients"
                )
            part = len(keras.tree.flatten(batch[0])[0]) / samples
            yield part, dict(zip(ids, gradients, strict=True))


def mean(model, x, y, batch_size, zeroed=(), loss=None):
    """The gradient of the mean loss over all samples.

    Takes what `per_batch` takes.

    Returns:
        A dict of the id of a trainable variable -> float64 array.
    """
    total = {}
    for part, gradients in per_batch(model, x, y, batch_size, zeroed, loss):
        for key, gradient in gradients.items():
            total[key] = total.get(key, 0.0) + part * gradient
    return total


def _part(data, start, size):
    if data is None:
        return None
    return keras.tree.map_structure(lambda a: a[start : start + size], data)
