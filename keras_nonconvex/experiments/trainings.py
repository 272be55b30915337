"""One training of an experiment, which goes on where it was stopped."""

import pathlib
import re
import shutil

import keras
import numpy as np

from keras_nonconvex import files
from keras_nonconvex import terminal
from keras_nonconvex.training.backup import Backup
from keras_nonconvex.training.backup import epochs_done

EVALUATED = 256


def drops(rate, factor, at, epochs, steps):
    """A learning rate that falls in steps.

    Args:
        rate: The rate at the start.
        factor: What it is multiplied by at each drop.
        at: A sequence of numbers in (0, 1): the share of the training after
            which each drop comes.
        epochs: An integer: the epochs of the training.
        steps: An integer: the steps of an epoch. Drops come between epochs.

    Returns:
        A `keras.optimizers.schedules.PiecewiseConstantDecay`.
    """
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(share * epochs) * steps for share in at],
        [rate * factor**i for i in range(len(at) + 1)],
    )


def file_of(folder, settings):
    """The file of the network that was trained by some settings.

    Args:
        folder: A string or path.
        settings: A dict of strings, numbers and None.

    Returns:
        A path, the same for the same settings.
    """
    name = "-".join(map(str, settings.values()))
    return (
        pathlib.Path(folder) / f"{re.sub(r'[^-+=.A-Za-z0-9]', '_', name)}.keras"
    )


def trained(
    path,
    make,
    split,
    epochs,
    batch_size,
    seed=0,
    augment=None,
    validation=None,
    callbacks=(),
):
    """The network that a training leaves, from a file if it was trained.

    An interrupted training goes on after its last complete epoch. It trains
    in whole batches: what is left of an epoch waits for another one.

    Args:
        path: A string or path: the `.keras` file of the trained network.
        make: A function without arguments that returns a compiled model.
        split: A `datasets.Split`: the images to train on.
        epochs: An integer >= 1.
        batch_size: An integer >= 1.
        seed: An integer: everything random depends on it. Defaults to `0`.
        augment: A dict of random changes, as `Split.dataset` takes it.
            Defaults to `None`.
        validation: A `datasets.Split` that is measured after each epoch.
            Defaults to `None`.
        callbacks: A sequence of Keras callbacks. Defaults to `()`.

    Returns:
        The trained model.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return files.load_model(path)
    keras.utils.set_random_seed(seed)
    model = make()
    backups = path.with_suffix(".backup")
    console = terminal.console()
    steps = max(len(split) // batch_size, 1)
    images = split.dataset(
        batch_size,
        shuffle=True,
        seed=seed,
        augment=augment,
        epoch=epochs_done(backups),
    )
    model.fit(
        images.take(steps),
        validation_data=validation and validation.dataset(EVALUATED),
        epochs=epochs,
        # The data shuffles itself.
        shuffle=False,
        verbose=0,
        callbacks=[
            *callbacks,
            terminal.Epochs(console, path.stem),
            Backup(backups),
        ],
    )
    files.save_model(model, path)
    shutil.rmtree(backups, ignore_errors=True)
    return model


def accuracy(model, split):
    """The share of the images whose class is the model's first choice.

    Args:
        model: A Keras model of class scores.
        split: A `datasets.Split`.
    """
    x, y = split.arrays()
    found = model.predict(x, batch_size=EVALUATED, verbose=0).argmax(-1)
    return float((found == np.ravel(y)).mean())
