"""The trainings of a run: epochs on record, backed up, on several devices."""

import contextlib
import math

import keras

from keras_nonconvex import terminal
from keras_nonconvex.training.attachment import attach
from keras_nonconvex.training.backup import Backup
from keras_nonconvex.training.recovery import soon_forgotten


def fit(job, step, model, epochs, callbacks=(), solver=None, patience=None):
    """Trains a model in place, from the last backup if there is one.

    Args:
        job: The `Job`.
        step: The name of the step.
        model: A Keras model.
        epochs: An integer: how many epochs the whole step has.
        callbacks: Keras callbacks that come before the recording.
        solver: A solver for a `ProximalModel`, or None.
        patience: As the recipe key. Defaults to `None`.
    """
    recipe = job.recipe
    steps = job.steps * epochs
    with replicated(job, model) as replica:
        keras.utils.set_random_seed(recipe.seed)
        more = {} if solver is None else {"solver": solver}
        replica.compile(
            optimizer=recipe.make_optimizer(steps),
            loss=job.task.loss(),
            metrics=job.task.metrics(),
            **more,
        )
        announce(job, step, replica, epochs)
        with soon_forgotten(replica, job.steps):
            replica.fit(
                job.training_data(step),
                validation_data=job.validation_data(),
                epochs=epochs,
                # The data shuffles itself.
                shuffle=False,
                verbose=0,
                callbacks=[*callbacks, *recording(job, step, patience)],
            )


def announce(job, step, model, epochs):
    """Prints what is trained now, and for how long."""
    job.console.print(
        f"[bold]{step}[/]: {model.count_params():,} parameters, "
        f"{epochs} epoch{'s' * (epochs != 1)}"
    )


def recording(job, step, patience=None):
    """The callbacks with which every training of a run is resumed and seen.

    Args:
        job: The `Job`.
        step: The name of the step.
        patience: As the recipe key. Defaults to `None`.

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
        terminal.Epochs(job.console, step, job.task.measure.name),
        *job.callbacks,
        Backup(job.records.backup(step), patience),
    ]


@contextlib.contextmanager
def replicated(job, model):
    """Yields the model, or one with its weights that is trained for it.

    That is on several devices, in mixed precision, or both.

    Args:
        job: The `Job`.
        model: A Keras model, which gets the weights that are trained.
    """
    policy = job.recipe.dtype_policy
    if job.strategy is None and policy is None:
        yield model
        return
    scope = contextlib.nullcontext()
    if job.strategy is not None:
        scope = job.strategy.scope()
    with scope:
        replica = copied(model, policy)
        replica.set_weights(model.get_weights())
        yield replica
    model.set_weights(replica.get_weights())


def copied(model, policy=None):
    """A `ProximalModel` like a model, with layers of its own.

    Args:
        model: A functional or Sequential model.
        policy: The name of a dtype policy of its layers. Those that give the
            outputs stay in float32: a softmax needs its digits. Defaults to
            `None`: as they are.
    """
    if policy is None:
        return attach(keras.models.clone_model(model), {})
    last = {id(layer) for layer in _last(model)}

    def copy(layer):
        settings = layer.get_config()
        if id(layer) not in last:
            settings["dtype"] = policy
        try:
            return type(layer).from_config(settings)
        except TypeError as error:
            raise ValueError(
                "Recipe key `dtype_policy` needs layers that take `dtype`, as "
                f"those of Keras do ({error}). "
                f"Received: layer {layer.name!r} of {type(layer).__name__}"
            ) from error

    usual = keras.config.dtype_policy()
    # Models, too, have a policy; by it Keras scales losses in float16.
    keras.config.set_dtype_policy(policy)
    try:
        made = keras.models.clone_model(
            model, clone_function=copy, recursive=True
        )
        return attach(made, {})
    finally:
        keras.config.set_dtype_policy(usual)


def _last(model):
    """The layers that give the outputs of a model, and of models there."""
    for output in model.outputs:
        layer = output._keras_history.operation
        yield layer
        if getattr(layer, "outputs", None):
            yield from _last(layer)
