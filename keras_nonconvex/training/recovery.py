"""After pruning: batch statistics, fine-tuning, the dense model as teacher."""

import keras

from keras_nonconvex import callbacks
from keras_nonconvex import checks
from keras_nonconvex import configs
from keras_nonconvex import data_loss
from keras_nonconvex import graph
from keras_nonconvex import outputs
from keras_nonconvex import samples


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
    norms = [
        (layer, layer.momentum)
        for layer in graph.sublayers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
    ]
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
    optimizer="adam",
    loss=None,
    metrics=None,
    teacher=None,
    teacher_weight=0.5,
    temperature=3.0,
    keep_zeros=False,
    **fit_options,
):
    """Trains a pruned model, optionally with the dense one as its teacher.

    With a teacher the loss is (1 - teacher_weight) loss + teacher_weight
    T^2 KL(teacher || model), with the outputs of both softened by the
    temperature T (`keras.distillation`). The losses that the models were
    compiled with and their last layers tell whether the outputs are
    probabilities or logits, of one class out of several or of yes or no.

    Args:
        model: A built model, compiled and trained in place.
        x: Training inputs, as in `fit`, or the name or folder of a data
            set. A generator without `steps_per_epoch` is kept in memory.
        y: Targets, as in `fit`. None where `x` has them. Defaults to `None`.
        epochs: A whole number >= 1. Defaults to `5`.
        optimizer: An optimizer or its name, as in `compile`. Defaults to
            `"adam"`.
        loss: A loss or its name, as in `compile`. Defaults to `None`: the
            one that the model was compiled with, else the crossentropy that
            suits each output.
        metrics: A list or tuple of metrics, as in `compile`. Defaults to
            `None`: the accuracy of each output that is a classifier's.
        teacher: A model with the same inputs and one output of the same
            shape, which shares no layer with `model` and stays unchanged; or
            None for no teacher. Defaults to `None`.
        teacher_weight: A number in [0, 1], the teacher's part of the loss.
            Defaults to `0.5`.
        temperature: A number above 0 by which logits are divided before
            their softmax. Defaults to `3.0`.
        keep_zeros: True or False, whether weights that are zero stay zero.
            Defaults to `False`.
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
    if teacher is not None:
        teacher_weight = checks.number(
            "teacher_weight",
            teacher_weight,
            "a number in [0, 1]",
            lambda v: 0.0 <= v <= 1.0,
        )
    steps = fit_options.get("steps_per_epoch")
    x, y = samples.for_fit(model, x, y, steps)
    settings = data_loss.compile_settings(model, loss, data_loss.labels(x, y))
    found = outputs.of(model, settings["loss"])
    if teacher is not None:
        soft = _SoftTargets(*_deciders(model, teacher, found), temperature)
    if metrics is None:
        metrics = [output.metrics() for output in found]
        metrics = metrics[0] if len(found) == 1 else metrics
    model.compile(optimizer, **settings, metrics=metrics)
    given = fit_options.pop("callbacks", None)
    given = [] if given is None else keras.tree.flatten(given)
    if keep_zeros:
        given = [*given, callbacks.Freeze(model)]
    if teacher is None:
        return model.fit(x, y, epochs=epochs, callbacks=given, **fit_options)
    trained = keras.distillation.Distiller(
        _frozen_copy(teacher),
        model,
        soft,
        student_loss_weight=1.0 - teacher_weight,
    )
    trained.compile(model.optimizer, settings["loss"], metrics=metrics)
    return trained.fit(x, y, epochs=epochs, callbacks=given, **fit_options)


def _deciders(model, teacher, found):
    """The one `Output` of the teacher, and that of the student."""
    mine = {id(v) for v in model.variables}
    if any(id(v) in mine for v in teacher.variables):
        raise ValueError(
            "Argument `teacher` must not share layers with the model: make "
            "a copy with keras.models.clone_model and set_weights. "
            f"Received: teacher={teacher.name!r}"
        )
    if getattr(model, "solver", None) and model.solver.targets(model):
        raise ValueError(
            "Training with a teacher cannot apply the prox of penalties: "
            "remove them with knc.strip(model). "
            f"Received: model={model.name!r}"
        )
    if len(found) != 1:
        raise ValueError(
            "Argument `teacher` needs a model with one output. "
            f"Received: model={model.name!r} with {len(found)}"
        )
    loss = getattr(teacher, "loss", None) or found[0].loss
    both = [*outputs.of(teacher, loss), *found]
    kinds = [output.kind for output in both]
    shapes = [output.shape for output in both]
    if (
        kinds not in ([outputs.CLASSES] * 2, [outputs.YES_NO] * 2)
        or len(set(shapes)) != 1
    ):
        raise ValueError(
            "Argument `teacher` needs two classifiers with outputs of the "
            "same shape, which end in a softmax, in a sigmoid or in logits; "
            "compile them with their losses where their last layers do not "
            f"tell. Received: teacher={teacher.name!r} with {kinds[0]} of "
            f"shape {shapes[0]}, model={model.name!r} with {kinds[-1]} of "
            f"shape {shapes[-1]}"
        )
    return both


def _frozen_copy(model):
    """A copy, to be frozen while the given model stays as it is."""
    copy = configs.anew(model)
    copy.set_weights(model.get_weights())
    return copy


class _SoftTargets(keras.distillation.LogitsDistillation):
    """Keras' distillation of logits, for outputs of any classifier.

    Args:
        teacher: The `Output` of the teacher.
        student: The `Output` of the student.
        temperature: As in `fine_tune`.
    """

    def __init__(self, teacher, student, temperature):
        # With its default, a name, Keras 3.15 computes the divergence of the
        # logits themselves.
        super().__init__(temperature, keras.losses.KLDivergence())
        self.teacher = teacher
        self.student = student

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return super().compute_loss(
            keras.tree.map_structure(
                self.teacher.class_logits, teacher_outputs
            ),
            keras.tree.map_structure(
                self.student.class_logits, student_outputs
            ),
            **kwargs,
        )
