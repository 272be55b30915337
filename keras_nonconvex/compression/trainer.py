"""The training of a run: epochs on record, backed up, on several devices."""

import contextlib
import math
import signal
import threading

import keras

from keras_nonconvex import terminal
from keras_nonconvex.training.attachment import attach


class Trainer:
    """Trains the models of a run.

    Args:
        recipe: The `Recipe`.
        data: The `Images` to train and validate on.
        output: The `outputs.Output` of the models.
        state: The `State` that keeps the history.
        paths: The `run_folder.Paths` of the run.
        console: A `rich.console.Console`.
        strategy: A `tf.distribute` strategy, or `None`.
    """

    def __init__(self, recipe, data, output, state, paths, console, strategy):
        self.recipe = recipe
        self.data = data
        self.output = output
        self.state = state
        self.paths = paths
        self.console = console
        self.strategy = strategy

    def fit(self, stage, model, epochs, *callbacks):
        """Trains a model in place, from the last backup if there is one.

        Args:
            stage: A string: the name of the stage in the history.
            model: A Keras model.
            epochs: An integer: how many epochs the whole stage has.
            *callbacks: Keras callbacks that come before the recording.
        """
        if self.strategy is None:
            return self._fit_here(stage, model, epochs, *callbacks)
        with self.strategy.scope():
            # A ProximalModel, since it trains on several workers too.
            replicas = attach(keras.models.clone_model(model), {})
            replicas.set_weights(model.get_weights())
            self._fit_here(stage, replicas, epochs, *callbacks)
        model.set_weights(replicas.get_weights())

    def _fit_here(self, stage, model, epochs, *callbacks):
        data, recipe = self.data, self.recipe
        keras.utils.set_random_seed(recipe.seed)
        steps = math.ceil(len(data.x_train) / recipe.batch_size)
        model.compile(
            optimizer=recipe.make_optimizer(steps * epochs),
            loss=self.output.usual_loss(),
            metrics=self.output.metrics(),
        )
        self.console.print(
            f"[bold]{stage}[/]: {model.count_params():,} parameters, "
            f"{epochs} epoch{'s' * (epochs != 1)}"
        )
        record = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.state.record(
                stage, epoch, logs
            )
        )
        model.fit(
            data.x_train,
            data.y_train,
            validation_data=(data.x_test, data.y_test),
            validation_batch_size=1000,
            batch_size=recipe.batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=[
                *callbacks,
                # Before the backup: an epoch that is backed up has its row,
                # and one that is done again replaces its row.
                record,
                terminal.Epochs(self.console, stage),
                _Backup(
                    str(self.paths.backups / stage), double_checkpoint=True
                ),
            ],
        )


class _Backup(keras.callbacks.BackupAndRestore):
    """Keras' backup, which a Ctrl-C cannot leave half-written."""

    def on_epoch_end(self, epoch, logs=None):
        with uninterrupted():
            super().on_epoch_end(epoch, logs)


@contextlib.contextmanager
def uninterrupted():
    """Holds a Ctrl-C back until its block is complete."""
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(handler):
        yield
        return
    held = []
    signal.signal(signal.SIGINT, lambda *received: held.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])
