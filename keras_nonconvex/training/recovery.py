"""After pruning: batch statistics, fine-tuning, the dense model as teacher."""

import contextlib
import dataclasses
import math

import keras
import numpy as np

from keras_nonconvex import callbacks
from keras_nonconvex import checks
from keras_nonconvex import data_loss
from keras_nonconvex import graph
from keras_nonconvex import outputs
from keras_nonconvex import samples
from keras_nonconvex.backends import strategy_scope
from keras_nonconvex.training import descent
from keras_nonconvex.training import distillation

# What an epoch may leave of batch statistics from before it.
REMEMBERED = 0.01


def recalibrate(model, x, batch_size=128):
    """Computes the moving statistics of batch normalization anew from data.

    Pruning changes what every layer sees, so the averages from before are
    wrong. They become the plain means over the batches of `x`. Nothing else
    changes, and dropout is off meanwhile.

    Args:
        model: A built model, changed in place.
        x: Input samples: an array of shape (samples, ...) or a structure of
            such arrays; a `tf.data.Dataset`, `PyDataset` or generator of
            inputs or of (inputs, targets); or the name or folder of a data
            set.
        batch_size: A whole number >= 1, the samples per batch where `x` is
            not in batches already. The last batch is left out if it is
            smaller. Defaults to `128`.

    Returns:
        The model.

    Example:
    >>> small = knc.recalibrate(knc.prune(model), x_train)
    """
    batch_size = checks.whole("batch_size", batch_size, 1)
    norms = _norms(model)
    if not norms:
        return model
    try:
        with graph.without_dropout(model):
            for seen, batch in enumerate(samples.batches(model, x, batch_size)):
                for layer, _ in norms:
                    layer.momentum = seen / (seen + 1.0)
                model(batch, training=True)
    finally:
        for layer, momentum in norms:
            layer.momentum = momentum
    return model


def fine_tune(
    model,
    x,
    y=None,
    epochs=5,
    optimizer=None,
    loss=None,
    metrics=None,
    teacher=None,
    teacher_weight=0.9,
    temperature=10.0,
    keep_zeros=False,
    learning_rate=None,
    **fit_options,
):
    """Trains a pruned model, optionally with the dense one as its teacher.

    With a teacher the loss is (1 - teacher_weight) loss + teacher_weight
    T^2 KL(teacher || model), with the outputs of both softened by the
    temperature T. The losses that the models were compiled with and their
    last layers tell whether the outputs are probabilities or logits, of one
    class out of several or of yes or no. Of outputs that are values, such as
    those of a regression, the teacher's part is the model's own loss with the
    teacher's values as targets. In validation the loss is the model's own.

    Without an optimizer the rate falls to zero by a cosine over all steps, or
    from epoch to epoch where the number of steps is not known. Where an epoch
    has too few steps for the moving statistics of batch normalization to
    follow, their momentum is lower meanwhile, so that at most 1% of what an
    epoch begins with is left at its end. The weights are those after the last
    step.

    Args:
        model: A built model, compiled and trained in place.
        x: Training inputs, as in `fit`, or the name or folder of a data
            set. A generator without `steps_per_epoch` is kept in memory.
        y: Targets, as in `fit`. None where `x` has them. Defaults to `None`.
        epochs: A whole number >= 1. Defaults to `5`.
        optimizer: An optimizer or its name, as in `compile`. Defaults to
            `None`: SGD with Nesterov momentum 0.9 for a model with batch
            normalization, Adam for any other.
        loss: A loss or its name, as in `compile`. Defaults to `None`: the
            one that the model was compiled with, else the crossentropy that
            suits each output.
        metrics: A list or tuple of metrics, as in `compile`. Defaults to
            `None`: the accuracy of each output that is a classifier's.
        teacher: A model with the same inputs and one output of the same
            shape, which shares no layer with `model` and stays unchanged; or
            None for no teacher. Defaults to `None`.
        teacher_weight: A number in [0, 1], the teacher's part of the loss.
            Defaults to `0.9`.
        temperature: A number > 0 by which logits are divided before their
            softmax. Defaults to `10.0`.
        keep_zeros: True or False, whether weights that are zero stay zero.
            Defaults to `False`.
        learning_rate: A number > 0, the rate that the cosine starts from;
            for the usual optimizer only. Defaults to `None`: 0.01 for SGD and
            0.001 for Adam.
        **fit_options: Further arguments of `fit`, such as `batch_size`,
            `validation_data`, `callbacks` and `verbose`.

    Returns:
        Keras' `History`.

    Example:
    ```python
    small = knc.prune(dense)
    knc.fine_tune(
        small, x, y, epochs=5, teacher=dense, batch_size=128, keep_zeros=True
    )
    ```

    Reference: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural
    Network, 2015.
    """
    epochs = checks.whole("epochs", epochs, 1)
    learning_rate, teacher_weight, temperature = check(
        optimizer, learning_rate, teacher_weight, temperature
    )
    x, y = samples.for_fit(model, x, y, fit_options.get("steps_per_epoch"))
    settings = data_loss.compile_settings(model, loss, data_loss.labels(x, y))
    settings.update(_manner(model))
    found = outputs.of(model, settings["loss"])
    if teacher is not None:
        both = distillation.pair(teacher, model, _told(found, x, y))
    if metrics is None:
        metrics = [output.metrics() for output in found]
        metrics = metrics[0] if len(found) == 1 else metrics
    steps = samples.steps(model, x, fit_options)
    left = epochs - fit_options.get("initial_epoch", 0)
    own = []
    # A strategy wants all variables of a training made in its scope.
    with strategy_scope(model):
        if optimizer is None:
            optimizer, own = descent.usual_optimizer(
                model, learning_rate, steps, left
            )
        model.compile(optimizer, **settings, metrics=metrics)
        trained = model
        if teacher is not None:
            trained = distillation.Taught(
                model, teacher, both, teacher_weight, temperature
            )
            # Its optimizer scales losses by itself where the precision needs
            # it.
            trained.compile(
                model.optimizer,
                **settings,
                metrics=metrics,
                auto_scale_loss=False,
            )
    if keep_zeros:
        own.append(callbacks.Freeze(model))
    given = fit_options.pop("callbacks", None)
    given = [] if given is None else keras.tree.flatten(given)
    with soon_forgotten(model, steps or math.inf):
        return trained.fit(
            x, y, epochs=epochs, callbacks=[*given, *own], **fit_options
        )


def _told(found, x, y):
    """Outputs, which targets tell to be values where nothing else does.

    Zeros and ones may be classes as well.
    """
    if len(found) != 1 or found[0].kind is not None or found[0].loss is None:
        return found
    y = keras.tree.flatten(next(iter(x))[1] if y is None else y)[0]
    y = keras.ops.convert_to_numpy(y)
    values = y.shape[1:] == found[0].shape[1:] and not np.isin(y, (0, 1)).all()
    kind = outputs.VALUES if values else None
    return [dataclasses.replace(found[0], kind=kind)]


def check(
    optimizer=None, learning_rate=None, teacher_weight=0.9, temperature=10.0
):
    """Refuses arguments of `fine_tune` that cannot work for any model.

    Returns:
        (learning_rate, teacher_weight, temperature) as numbers.
    """
    if optimizer is not None:
        try:
            keras.optimizers.get(optimizer)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "Argument `optimizer` must be a Keras optimizer, its name or "
                f"its config. Received: optimizer={optimizer!r}"
            ) from error
        if learning_rate is not None:
            raise ValueError(
                "Argument `learning_rate` is for the usual optimizer: give "
                "your own its rate itself. "
                f"Received: learning_rate={learning_rate}"
            )
    if learning_rate is not None:
        learning_rate = _above_zero("learning_rate", learning_rate)
    teacher_weight = checks.number(
        "teacher_weight",
        teacher_weight,
        "a number in [0, 1]",
        lambda v: 0.0 <= v <= 1.0,
    )
    return (
        learning_rate,
        teacher_weight,
        _above_zero("temperature", temperature),
    )


def _above_zero(name, value):
    return checks.number(name, value, "a number > 0", lambda v: v > 0.0)


def _manner(model):
    """How a model was compiled to be run, as arguments of `compile`."""
    if not getattr(model, "compiled", False):
        return {}
    told = model._compile_config.config
    names = ("jit_compile", "run_eagerly", "steps_per_execution")
    return {name: told[name] for name in names if name in told}


def _norms(model):
    """[(batch normalization that is trained, its momentum), ...]."""
    return [
        (layer, layer.momentum)
        for layer in graph.sublayers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
    ]


@contextlib.contextmanager
def soon_forgotten(model, steps):
    """Batch statistics of before have no weight after an epoch.

    Where an epoch has so few steps that moving averages would still be those
    of other weights, inference would not be what was trained.

    Args:
        model: The model.
        steps: How many steps an epoch has.
    """
    norms = _norms(model)
    most = REMEMBERED ** (1.0 / steps)
    for layer, momentum in norms:
        layer.momentum = min(momentum, most)
    try:
        yield
    finally:
        for layer, momentum in norms:
            layer.momentum = momentum
        # The function of a training has the momentum built in.
        model.train_function = None
