"""The state of a training, on disk after every epoch."""

import pathlib

import keras
import numpy as np

from keras_nonconvex import files
from keras_nonconvex.callbacks.state import synced


def epochs_done(folder):
    """After how many epochs a training goes on.

    Args:
        folder: A `pathlib.Path`: the folder of its `Backup`.
    """
    return max(map(_epoch, folder.glob("*.npz")), default=0)


class Backup(keras.callbacks.Callback):
    """Lets a training go on as if it had never been interrupted.

    Each epoch leaves a file of all variables: weights, the optimizer's, and
    the seeds of random layers. It is written whole or not at all, so that it
    does not matter when the process ends. A training that finds such files
    goes on after the last one.

    With `patience` the best epoch keeps its file, too. The training ends
    after so many epochs without a lower validation loss, and the weights of
    the best one count.

    Args:
        folder: A `pathlib.Path`: the folder of the files, of this training
            alone.
        patience: An integer >= 1. Defaults to `None`: all epochs are trained,
            and the last weights count.
    """

    def __init__(self, folder, patience=None):
        super().__init__()
        self.folder = folder
        self.patience = patience

    def on_train_begin(self, logs=None):
        # Epochs are counted from 1 in the names of files.
        done = epochs_done(self.folder)
        self._best, self._least = done, float("inf")
        if not done:
            return
        for path in self.folder.glob("*.npz"):
            with np.load(path) as stored:
                loss = float(stored["val_loss"])
            if loss < self._least:
                self._best, self._least = _epoch(path), loss
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self._restore(done, self._variables())
        if self._waited_enough(done):
            done = self.params["epochs"]
        # As Keras' BackupAndRestore does it.
        self.model._initial_epoch = done

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        loss = (logs or {}).get("val_loss", np.nan)
        if loss < self._least or not self._best:
            self._best, self._least = done, loss
        values = map(keras.ops.convert_to_numpy, self._variables())
        with files.replacing(self._path(done)) as temporary:
            np.savez(temporary, *values, val_loss=loss)
        kept = {done} if self.patience is None else {done, self._best}
        for path in self.folder.glob("*.npz"):
            if _epoch(path) not in kept:
                path.unlink()
        if self._waited_enough(done):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.patience is not None and self._best:
            self._restore(self._best, synced(self.model).variables)

    def _waited_enough(self, done):
        return self.patience is not None and (
            done - self._best >= self.patience
        )

    def _variables(self):
        model = synced(self.model)
        return [*model.variables, *model.optimizer.variables]

    def _restore(self, epoch, variables):
        """Gives the first variables of a file their values of that epoch."""
        with np.load(self._path(epoch)) as stored:
            for number, variable in enumerate(variables):
                variable.assign(stored[f"arr_{number}"])

    def _path(self, epoch):
        return self.folder / f"{epoch:06}.npz"


def _epoch(path):
    return int(pathlib.Path(path).stem)
