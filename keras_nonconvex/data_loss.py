"""The data loss of a model and its gradients, on any backend."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import configs
from keras_nonconvex import graph
from keras_nonconvex import outputs

# So small that a step changes no weight: on a busy machine TensorFlow may take
# a weight for the step's own forward pass once it is updated. A power of two
# keeps all digits of the gradient.
_RATE = 2.0**-60


def compile_settings(model, loss=None, labels=None):
    """The loss to train or judge a model by, as arguments of `compile`.

    It is the given one, else the model's own, else the crossentropy that suits
    each output.

    Args:
        model: A built model.
        loss: A loss as in `compile`, or None. Defaults to `None`.
        labels: The labels, an array or a structure of arrays, or None.
            Defaults to `None`: whole numbers.

    Returns:
        A dict with `loss` and `loss_weights`.

    Raises:
        ValueError: No loss is known, or it takes probabilities where the model
            gives logits.
    """
    weights = None
    if loss is None and getattr(model, "loss", None) is not None:
        loss = model.loss
        weights = model._compile_config.config.get("loss_weights")
    found = outputs.of(model, loss)
    if loss is None:
        names = [output.name for output in found]
        loss = [
            output.usual_loss(own)
            for output, own in zip(
                found, outputs.by_output(names, labels), strict=True
            )
        ]
        loss = loss[0] if len(loss) == 1 else loss
    for output in found:
        output.check_loss()
    return {"loss": loss, "loss_weights": weights}


def labels(x, y=None):
    """The labels of `fit`'s data, for their shapes; `None` if not known.

    Args:
        x: The inputs, or a dataset of (inputs, targets).
        y: The targets. Defaults to `None`.
    """
    if y is not None:
        return y
    batch = getattr(x, "element_spec", None)
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    several = isinstance(batch, (tuple, list)) and len(batch) > 1
    return batch[1] if several else None


def per_sample(model, loss, y):
    """The loss of each sample, by the model's outputs.

    Args:
        model: A functional model.
        loss: A loss as in `compile`, or None.
        y: The labels, an array or a structure of arrays.

    Returns:
        A function of a flat list of outputs (n, ...) and of flat labels (n,
        ...) -> array (n,), and the labels as a flat list, with None for an
        output without a loss.
    """
    settings = compile_settings(model, loss, y)
    names = [output.name for output in outputs.of(model)]
    losses, weights, flat = (
        outputs.by_output(names, given)
        for given in (settings["loss"], settings["loss_weights"], y)
    )
    terms = [
        (place, keras.losses.get(one), 1.0 if weight is None else weight)
        for place, (one, weight) in enumerate(zip(losses, weights, strict=True))
        if one is not None
    ]

    def total(values, labels):
        return sum(
            weight * _per_sample(one, labels[place], values[place])
            for place, one, weight in terms
        )

    return total, flat


def _per_sample(loss, labels, values):
    if labels.ndim + 1 == values.ndim and values.shape[-1] == 1:
        labels = labels[..., None]
    labels = ops.convert_to_tensor(labels, keras.config.floatx())
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    losses = ops.convert_to_numpy(function(labels, values))
    return losses.reshape(len(losses), -1).mean(axis=1)


def per_batch(
    model,
    x,
    y,
    batch_size,
    zeroed=(),
    loss=None,
    judged=None,
    training=True,
):
    """Yields the gradient of the mean loss, batch by batch.

    This way to a gradient is the same on every backend: one step of SGD with
    momentum, whose first velocity is minus the rate times the gradient, on a
    copy that shares no weight with the model.

    Args:
        model: A built functional model, which stays as it is.
        x: Inputs, an array or a structure of arrays.
        y: Targets, likewise, or None.
        batch_size: The samples per batch.
        zeroed: Ids of variables whose values count as zero. Defaults to `()`.
        loss: As in `compile_settings`. Defaults to `None`.
        judged: The model whose own loss counts, if another one has the same
            weights and outputs. Defaults to `None`: `model`.
        training: Whether layers compute what they do in training, all but
            dropout; `False` is for inference, and for the gradients of frozen
            weights too. Defaults to `True`.

    Yields:
        (fraction of all samples that are in the batch, dict of the id of a
        trainable variable -> float64 array).
    """
    copy = configs.anew(model)
    values = [
        np.zeros(v.shape) if id(v) in zeroed else ops.convert_to_numpy(v)
        for v in model.weights
    ]
    for variable in copy.weights:
        variable.regularizer = None
    optimizer = keras.optimizers.SGD(_RATE, momentum=0.5)
    run = copy
    if not training:
        # What is frozen has a gradient too.
        copy.trainable = True
        run = _Inference(copy)
    run.compile(
        optimizer,
        **compile_settings(judged or model, loss, y),
        auto_scale_loss=False,
    )
    optimizer.build(copy.trainable_variables)
    originals = {
        id(mine): id(v)
        for mine, v in zip(copy.weights, model.weights, strict=True)
    }
    ids = [originals[id(v)] for v in copy.trainable_variables]
    samples = len(keras.tree.flatten(x)[0])
    with graph.without_dropout(copy):
        for start in range(0, samples, batch_size):
            batch = [_part(data, start, batch_size) for data in (x, y)]
            copy.set_weights(values)
            for momentum in optimizer.momentums:
                momentum.assign(np.zeros(momentum.shape))
            run.train_on_batch(*batch)
            gradients = [
                -ops.convert_to_numpy(momentum).astype("float64") / _RATE
                for momentum in optimizer.momentums
            ]
            if not all(np.isfinite(gradient).all() for gradient in gradients):
                raise ValueError(
                    "The gradient of the data loss is not finite: look for "
                    "NaN in the data. Received: NaN or infinite gradients"
                )
            part = len(keras.tree.flatten(batch[0])[0]) / samples
            yield part, dict(zip(ids, gradients, strict=True))


class _Inference(keras.Model):
    """A functional model that computes in training what it does in use."""

    def __init__(self, model):
        super().__init__(name=model.name)
        self.model = model
        # Losses may be given by the names of the outputs.
        self.output_names = model.output_names

    def call(self, x):
        return self.model(x, training=False)


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
