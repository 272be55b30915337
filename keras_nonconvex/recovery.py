"""After pruning: batch statistics, fine-tuning, the dense model as teacher."""

import keras
from keras import ops

from keras_nonconvex import callbacks as callbacks_
from keras_nonconvex import graph


def recalibrate(model, x, batch_size=128):
    """Sets the moving statistics of batch normalization anew from data.

    Pruning changes what every layer sees, and the averages from before are
    then wrong. They become the plain means over the batches of `x`; nothing
    else changes. Dropout is off meanwhile.

    Args:
        model: A built model, changed in place.
        x: Input samples: an array (or arrays), or a dataset of batches of
            inputs or of (inputs, targets).
        batch_size: For arrays; the last, smaller batch is left out.

    Returns:
        The model.
    """
    norms, dropouts = [], []
    for layer in graph.sublayers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.trainable:
                norms.append((layer, layer.momentum))
        elif hasattr(layer, "rate") and hasattr(layer, "seed_generator"):
            dropouts.append((layer, layer.rate))
    if not norms:
        return model
    try:
        for layer, _ in dropouts:
            layer.rate = 0.0
        for seen, batch in enumerate(_batches(x, batch_size)):
            for layer, _ in norms:
                layer.momentum = seen / (seen + 1.0)
            model(batch, training=True)
    finally:
        for layer, momentum in norms:
            layer.momentum = momentum
        for layer, rate in dropouts:
            layer.rate = rate
    return model


def fine_tune(
    model,
    x,
    y=None,
    epochs=5,
    optimizer="adam",
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    teacher=None,
    teacher_weight=0.5,
    temperature=3.0,
    keep_zeros=False,
    **fit_options,
):
    """Trains a pruned model, if wanted with the dense one as its teacher.

    With a teacher the loss is (1 - teacher_weight) loss + teacher_weight
    T^2 KL(teacher || model), both softened by the temperature T
    (`keras.distillation`; Hinton, Vinyals, Dean, 2015). Models that end in a
    softmax and models that give logits are told apart by their last layer.

    Args:
        model: A built model, changed in place.
        x, y: As in `fit`.
        epochs: As in `fit`.
        optimizer, loss, metrics: As in `compile`.
        teacher: A model with the same inputs and outputs; unchanged.
        teacher_weight: Fraction of the loss, in [0, 1].
        temperature: Number above 0.
        keep_zeros: Whether weights that are zero stay zero.
        **fit_options: Passed on to `fit`.

    Returns:
        The `History` of `fit`. The model is compiled with the optimizer.
    """
    model.compile(optimizer, loss, metrics=list(metrics))
    trained = model
    if teacher is not None:
        if not 0.0 <= teacher_weight <= 1.0:
            raise ValueError(
                "Argument `teacher_weight` must be a number in [0, 1]. "
                f"Received: teacher_weight={teacher_weight!r}"
            )
        was_trainable = [layer.trainable for layer in teacher.layers]
        trained = keras.distillation.Distiller(
            teacher,
            model,
            _SoftTargets(_gives_probabilities(model), temperature),
            student_loss_weight=1.0 - teacher_weight,
        )
        trained.compile(model.optimizer, loss, metrics=list(metrics))
    extra = fit_options.pop("callbacks", None) or []
    if keep_zeros:
        extra = [*extra, callbacks_.Freeze(model)]
    try:
        return trained.fit(x, y, epochs=epochs, callbacks=extra, **fit_options)
    finally:
        if teacher is not None:
            teacher.trainable = True
            for layer, value in zip(teacher.layers, was_trainable, strict=True):
                layer.trainable = value


class _SoftTargets(keras.distillation.LogitsDistillation):
    """Keras' distillation of logits, also for outputs of a softmax."""

    def __init__(self, probabilities, temperature):
        # By the name that is its default, Keras 3.15 takes the divergence of
        # the logits themselves.
        super().__init__(temperature, keras.losses.KLDivergence())
        self.probabilities = probabilities

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        if self.probabilities:
            # Logits up to a constant, which a softmax does not see.
            teacher_outputs, student_outputs = (
                keras.tree.map_structure(
                    lambda p: ops.log(ops.maximum(p, 1e-7)), outputs
                )
                for outputs in (teacher_outputs, student_outputs)
            )
        return super().compute_loss(teacher_outputs, student_outputs, **kwargs)


def _gives_probabilities(model):
    last = model.layers[-1]
    return isinstance(last, keras.layers.Softmax) or (
        getattr(last, "activation", None) is keras.activations.softmax
    )


def _batches(x, batch_size):
    """Batches of inputs from an array, arrays or a dataset."""
    arrays = keras.tree.flatten(x)
    if all(hasattr(array, "shape") for array in arrays):
        size = min(batch_size, len(arrays[0]))
        for start in range(0, len(arrays[0]) - size + 1, size):
            yield keras.tree.map_structure(
                lambda array, start=start: array[start : start + size], x
            )
        return
    if isinstance(x, keras.utils.PyDataset):
        x = (x[i] for i in range(len(x)))
    for batch in x:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch
