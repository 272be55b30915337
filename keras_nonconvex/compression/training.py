"""The trainings of a run: epochs on record, backed up, on several devices."""

import contextlib
import math

import keras

from keras_nonconvex import terminal
from keras_nonconvex.compression.backup import Backup
from keras_nonconvex.training.attachment import attach


def fit(job, step, model, epochs, callbacks=(), solver=None):
    """Trains a model in place, from the last backup if there is one.

    Args:
        job: The `Job`.
        step: The name of the step.
        model: A Keras model.
        epochs: An integer: how many epochs the whole step has.
        callbacks: Keras callbacks that come before the recording.
        solver: A solver for a `ProximalModel`, or None.
    """
    recipe = job.recipe
    steps = job.steps * epochs
    with replicated(job.strategy, model) as replica:
        keras.utils.set_random_seed(recipe.seed)
        more = {} if solver is None else {"solver": solver}
        replica.compile(
            optimizer=recipe.make_optimizer(steps),
            loss=job.output.usual_loss(),
            metrics=job.output.metrics(),
            **more,
        )
        announce(job, step, replica, epochs)
        replica.fit(
            job.training_data(step),
            validation_data=job.validation_data(),
            epochs=epochs,
            # The data shuffles itself.
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, *recording(job, step)],
        )


def announce(job, step, model, epochs):
    """Prints what is trained now, and for how long."""
    job.console.print(
        f"[bold]{step}[/]: {model.count_params():,} parameters, "
        f"{epochs} epoch{'s' * (epochs != 1)}"
    )


def recording(job, step):
    """The callbacks with which every training of a run is resumed and seen.

    Args:
        job: The `Job`.
        step: The name of the step.

    Returns:
        A list of Keras callbacks.
    """

    def record(epoch, logs):
        if not math.isfinite(logs["loss"]):
            raise ValueError(
                "The loss must stay finite: lower the learning rate. "
                f"Received: loss={logs['loss']} after epoch {epoch + 1} of "
                f"{step}"
            )
        job.records.record(step, epoch, logs)

    return [
        # Before the backup: an epoch that is backed up has its row, and one
        # that is done again replaces its row.
        keras.callbacks.LambdaCallback(on_epoch_end=record),
        terminal.Epochs(job.console, step),
        *job.callbacks,
        Backup(job.records.backup(step), job.recipe.patience),
    ]


@contextlib.contextmanager
def replicated(strategy, model):
    """Yields the model, or one on several devices with its weights.

    Args:
        strategy: A `tf.distribute` strategy, or None.
        model: A Keras model, which gets the weights that are trained.
    """
    if strategy is None:
        yield model
        return
    with strategy.scope():
        # A ProximalModel, since it trains on several workers too.
        replica = attach(keras.models.clone_model(model), {})
        replica.set_weights(model.get_weights())
        yield replica
    model.set_weights(replica.get_weights())
