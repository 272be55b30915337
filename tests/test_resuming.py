"""Runs that are interrupted anywhere go on to the same files."""

import csv
import json
import re
import types

import keras
import numpy as np
import pytest
import rich.console
import tensorflow as tf

import keras_nonconvex as knc
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import run_folder
from keras_nonconvex.compression import report
from keras_nonconvex.compression.records import Records
from keras_nonconvex.compression.stages import dense
from keras_nonconvex.training import backup

SETTINGS = {
    "name": "tiny",
    "train": True,
    "epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "sparse": "group_lasso",
    "target": 0.4,
    "budget": {"macs": 0.5},
    "round_to": 1,
    "fine_tune_epochs": 2,
    "precisions": ["float32"],
    "latency_runs": 1,
}
# What is different in every run, in JSON and as columns.
TIMES = ("latency_ms", "latency_p95_ms", "seconds", "peak_bytes")


@pytest.fixture(autouse=True, scope="module")
def eager():
    """Nothing is traced: what runs here runs a few times."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def network():
    """A network with random layers of each kind."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.RandomFlip(),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def samples():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.uniform(size=(90, 6, 6, 1)) * (y[:, None, None, None] + 1) / 3
    return x.astype("float32"), y


def run(model, out, **more):
    return knc.compress(model, {"train": samples()}, out, **SETTINGS, **more)


def contents(folder):
    """What the files of a run hold, but for times and the memory used."""
    found = {}
    for path in folder.iterdir():
        found[path.name] = path.read_bytes()
        if path.suffix == ".keras":
            model = keras.models.load_model(path, compile=False)
            found[path.name] = [w.tobytes() for w in model.get_weights()]
        elif path.suffix == ".json":
            found[path.name] = timeless(json.loads(path.read_text()))
        elif path.name == "front.csv":
            rows = list(csv.DictReader(path.open()))
            found[path.name] = [
                {k: v for k, v in row.items() if "latency" not in k}
                for row in rows
            ]
    return found


def timeless(value):
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return value


class Interruptions:
    """A Ctrl-C at each of many moments, once."""

    def __init__(self, monkeypatch):
        self.had = []
        record, write = Records.record, Records.write

        def recorded(records, step, epoch, logs):
            record(records, step, epoch, logs)
            if epoch == 1:
                # The epoch is on record, and not backed up yet.
                self.once(f"middle of {step}")

        def written(records, step, *measured):
            if re.match("prune|fine-tune", step):
                # The files are made, and nobody knows.
                self.once(f"end of {step}")
            write(records, step, *measured)
            self.once(f"after {step}")

        monkeypatch.setattr(Records, "record", recorded)
        monkeypatch.setattr(Records, "write", written)

    def once(self, moment):
        if moment not in self.had:
            self.had.append(moment)
            raise KeyboardInterrupt


def test_a_run_interrupted_everywhere_makes_the_same_files(
    tmp_path, monkeypatch, converts_here
):
    # No figures: what they are made of is compared.
    monkeypatch.setattr(
        report, "write", lambda job, _: files.write_text(job.paths.report, "")
    )
    model = network()
    whole = contents(run(model, tmp_path / "whole").folder)
    moments = Interruptions(monkeypatch)
    result, resume = None, False
    while result is None:
        try:
            result = run(model, tmp_path / "run", resume=resume)
        except KeyboardInterrupt:
            resume = True
            # A file that a killed process was at.
            (tmp_path / "run.part" / ".small.keras.x").mkdir(exist_ok=True)
    assert moments.had == [
        *("middle of dense", "after dense"),
        *("middle of sparse", "after sparse"),
        *("end of prune.small", "after prune.small", "after repair.small"),
        *("middle of fine-tune.small", "end of fine-tune.small"),
        "after fine-tune.small",
        *("after export.dense.float32", "after export.small.float32"),
        *("after latency", "after report"),
    ]
    found = contents(result.folder)
    assert found.keys() == whole.keys()
    for name, right in whole.items():
        assert found[name] == right, name
    assert [path.name for path in tmp_path.iterdir()] == ["whole", "run"]


def test_a_given_network_that_only_guesses_is_told(tmp_path):
    """Of the order of its outputs, or of the range of its inputs."""
    job = types.SimpleNamespace(
        console=rich.console.Console(width=1000, record=True),
        recipe=knc.Recipe(model="given.keras", dataset="given"),
        paths=run_folder.Paths(tmp_path),
        data=datasets.splits({"train": samples()}),
        new_model=network,
        save=lambda model, name: None,
    )
    for accuracy, told in ((0.34, True), (0.5, False), (None, False)):
        job.measure = lambda model, a=accuracy: {"validation_accuracy": a}
        (step,) = dense.steps(job)[:1]
        step.work()
        said = job.console.export_text()
        assert ("order of the classes, 0, 1, 2?" in said) == told
        assert ("right about 34%" in said) == told


def trained(folder, patience, losses, until):
    """What a training in two processes leaves: (epochs it had, weights).

    Args:
        folder: The folder of its backup.
        patience: That of the backup.
        losses: The validation loss of each epoch, in which the weight becomes
            the number of the epoch.
        until: The epoch before which the first process ends.
    """
    had = []
    for end in (until, len(losses)):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        saved = backup.Backup(folder, patience)
        saved.set_model(model)
        saved.set_params({"epochs": len(losses)})
        saved.on_train_begin()
        for epoch in range(model._initial_epoch or 0, end):
            had.append(epoch)
            model.set_weights([np.full((1, 1), epoch), np.zeros(1)])
            saved.on_epoch_end(epoch, {"val_loss": losses[epoch]})
            if model.stop_training:
                break
    saved.on_train_end()
    return had, float(model.get_weights()[0][0, 0])


@pytest.mark.parametrize("until", range(6))
def test_patience_counts_the_epochs_before_an_interruption(tmp_path, until):
    losses = [2.0, 1.0, 3.0, 1.5, 0.5, 0.1]
    had, weight = trained(tmp_path, 2, losses, until)
    # Two epochs without a better one than the second end it.
    assert (had, weight) == ([0, 1, 2, 3], 1.0)
    assert backup.epochs_done(tmp_path) == 4
    # Nothing but the best and the last epoch is kept.
    assert len(list(tmp_path.iterdir())) == 2


def test_without_patience_the_last_epoch_counts(tmp_path):
    assert trained(tmp_path, None, [1.0, 2.0, 3.0], 2) == ([0, 1, 2], 2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["000003.npz"]


def test_a_backup_that_was_not_written_whole_does_not_count(tmp_path):
    trained(tmp_path, None, [1.0, 2.0], 1)
    # What a killed process leaves of the file of the third epoch.
    half = tmp_path / ".000003.npz.abc" / "000003.npz"
    half.parent.mkdir()
    half.write_bytes(b"PK")
    assert backup.epochs_done(tmp_path) == 2
    had, _ = trained(tmp_path, None, [1.0, 2.0, 3.0], 3)
    assert had == [2]
