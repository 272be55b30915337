"""A model that learns from a teacher while it is trained."""

import dataclasses

import keras
from keras import ops

from keras_nonconvex import configs
from keras_nonconvex import outputs
from keras_nonconvex.backends import replicas
from keras_nonconvex.training.replication import Replicated


class Taught(Replicated, keras.Model):
    """Trains a model on its loss and on its teacher's answers.

    The loss is (1 - weight) data loss + weight T^2 KL(teacher || model) plus
    the model's penalties. Of outputs that are values, the teacher's part is
    the data loss with the teacher's values as targets. In evaluation it is
    the model's own.

    Args:
        model: The model to train, which shares its weights with this one.
        teacher: Another model, which stays as it is.
        pair: The `Output` of the teacher and that of the model.
        weight: The teacher's part of the loss, in [0, 1].
        temperature: T > 0, by which logits are divided.
    """

    def __init__(self, model, teacher, pair, weight, temperature):
        super().__init__(name=model.name)
        self.student = model
        # A copy, to be frozen while the given teacher stays as it is.
        self.teacher = configs.anew(teacher)
        self.teacher.set_weights(teacher.get_weights())
        self.teacher.trainable = False
        self.pair = pair
        self.weight = weight
        self.temperature = temperature
        # Its parts are, so callbacks may save and load its weights.
        self.built = True

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        whole = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return whole
        # Each replica adds its part of them, as of every loss.
        penalties = sum(self.losses) / replicas() if self.losses else 0.0
        answers = self.teacher(x, training=False)
        if self.pair[-1].kind == outputs.VALUES:
            soft = self._compile_loss(answers, y_pred, sample_weight)
        else:
            soft = self._softened(answers, y_pred, sample_weight)
        return whole + self.weight * (soft - (whole - penalties))

    def _softened(self, answers, y_pred, sample_weight):
        """T^2 KL of the answers of a classifier."""
        wanted, given = (
            ops.softmax(
                output.class_logits(keras.tree.flatten(values)[0])
                / self.temperature
            )
            for output, values in zip(self.pair, (answers, y_pred), strict=True)
        )
        weights = keras.tree.flatten(sample_weight)
        return self.temperature**2 * keras.losses.KLDivergence()(
            wanted, given, weights[0] if weights else None
        )


def pair(teacher, model, found):
    """The one `Output` of the teacher, and that of the model.

    Args:
        teacher: The teacher.
        model: The model that it teaches.
        found: The `Output`s of the model.

    Raises:
        ValueError: The teacher cannot teach this model.
    """
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
    if both[0].kind is None and found[0].kind == outputs.VALUES:
        # A loss of one's own does not tell it.
        both[0] = dataclasses.replace(both[0], kind=outputs.VALUES)
    kinds = [output.kind for output in both]
    shapes = [output.shape for output in both]
    if None in kinds or len(set(kinds)) != 1 or len(set(shapes)) != 1:
        raise ValueError(
            "Argument `teacher` needs two models with outputs of the same "
            "kind and shape: classes, answers of yes or no, or values; "
            "compile them with their losses where their last layers do not "
            f"tell. Received: teacher={teacher.name!r} with {kinds[0]} of "
            f"shape {shapes[0]}, model={model.name!r} with {kinds[-1]} of "
            f"shape {shapes[-1]}"
        )
    return both
