"""The main job: data -> dense -> sparse -> small -> LiteRT -> report."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import pathlib
import shutil
import signal
import threading
import time

import keras
import numpy as np
from rich.console import Console

import tflite_export
from keras_nonconvex import callbacks
from keras_nonconvex import counts
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import models
from keras_nonconvex import terminal
from keras_nonconvex.compression import distribution
from keras_nonconvex.compression import report
from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.pruning import planning
from keras_nonconvex.run_folder import RunFolder
from keras_nonconvex.training.attachment import attach

_COLUMNS = (
    "stage",
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "zero_filters",
    "zero_weights",
    "zero_groups",
    "macs_left",
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run: its folder and its `metrics.json`."""

    folder: pathlib.Path
    metrics: dict


def compress(
    recipe,
    out=None,
    resume=False,
    force=False,
    console=None,
    strategy=None,
):
    """Runs a recipe and writes the run folder.

    While it works, everything is in `OUT.part`; the folder gets its name when
    the run is complete. An interrupted run goes on with `resume=True`, from
    the last finished epoch.

    Args:
        recipe: A `Recipe`, a dict, the path of a JSON file, or the name of a
            recipe that ships ("demo", "lenet5_fashion_mnist").
        out: The run folder; "runs/NAME" if None.
        resume: Go on with an interrupted run of the same recipe.
        force: Replace a run folder that exists.
        console: A rich console; the terminal if None.
        strategy: Trains on several devices: "mirrored", "multi-worker"
            (`distribution.get`) or a `tf.distribute` strategy. The recipe's
            batch is then that of all together. Workers beyond the first
            write folders of their own, OUT.worker1 and so on.

    Returns:
        A `Result`.
    """
    if isinstance(strategy, str):
        strategy = distribution.get(strategy)
    if isinstance(recipe, dict):
        recipe = Recipe.from_dict(recipe)
    elif not isinstance(recipe, Recipe):
        recipe = Recipe.load(recipe)
    out = pathlib.Path(out or pathlib.Path("runs") / recipe.name)
    if strategy is not None and distribution.worker():
        out = out.with_name(f"{out.name}.worker{distribution.worker()}")
    folder = RunFolder(out)
    folder.check(recipe.to_json(), resume, force)
    run = _Run(recipe, folder.part, console or Console(), resume, strategy)
    folder.begin(resume)
    run.all_stages()
    folder.finish()
    run.console.print(f"Report: [bold]{out / 'report.html'}")
    return Result(out, run.metrics)


@contextlib.contextmanager
def _uninterrupted():
    """Holds a Ctrl-C back until what is inside is complete."""
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


class _Backup(keras.callbacks.BackupAndRestore):
    """Keras' backup, which a Ctrl-C cannot leave half-written."""

    def on_epoch_end(self, epoch, logs=None):
        with _uninterrupted():
            super().on_epoch_end(epoch, logs)


class _Run:
    """One run in its folder; a stage that is on disk is not done again."""

    def __init__(self, recipe, folder, console, resume, strategy):
        self.given = self.recipe = recipe
        self.folder = folder
        self.console = console
        self.strategy = strategy
        state = folder / ".state.json"
        saved = {"metrics": {}, "history": [], "seconds": 0.0}
        if resume and state.exists():
            saved = json.loads(state.read_text())
        self.metrics = saved["metrics"]
        self.history = saved["history"]
        self._seconds_before = saved["seconds"]
        self._start = time.monotonic()
        # What can be refused is refused before anything is written.
        self.data = self._load_data()
        attach(self._new_model(), self.recipe.rules())

    def all_stages(self):
        files.write_text(self.folder / "recipe.json", self.given.to_json())
        self.metrics["dataset"] = self.data.name
        dense = self._stage_model("dense", self._dense)
        if self.recipe.long_baseline and "dense_long" not in self.metrics:
            self._dense_long()
        sparse = self._stage_model("sparse", self._sparse)
        plan = self._prune(sparse)
        small = self._stage_model("small", lambda: self._fine_tune(plan))
        self._export(dense, small)
        self.metrics["seconds"] = round(self._seconds(), 1)
        self._write_metrics()
        with self._status("Report"):
            report.write(self.folder, self.recipe, self.metrics, self.data)
        shutil.rmtree(self.folder / ".backup", ignore_errors=True)
        for name in (".state.json", ".pruned.keras"):
            (self.folder / name).unlink(missing_ok=True)

    # ---- stages

    def _dense(self):
        model = self._new_model()
        self._fit("dense", model, self.recipe.epochs)
        self.metrics["dense"] = self._measure(model)
        return model

    def _dense_long(self):
        model = self._new_model()
        epochs = self.recipe.epochs + self.recipe.fine_tune_epochs
        self._fit("dense_long", model, epochs)
        self.metrics["dense_long"] = self._measure(model)
        self._save_state()

    def _sparse(self):
        model = attach(self._new_model(), self.recipe.rules())
        self._fit(
            "sparse", model, self.recipe.epochs, callbacks.SparsityMonitor()
        )
        found = counts.summary(model)
        self.metrics["sparse"] = {
            **self._measure(model),
            "zero_weights": found.zero_weights,
            "zero_filters": found.zero_filters,
            "weights": found.weights,
            "filters": found.filters,
        }
        return model

    def _prune(self, sparse):
        recipe, path = self.recipe, self.folder / ".pruned.keras"
        stored = self.folder / "plan.json"
        if "pruned" in self.metrics and path.exists() and stored.exists():
            return files.load_model(path)
        plan, removal = planning.planned(
            sparse,
            recipe.criterion,
            recipe.budget,
            recipe.round_to,
            data=(self.data.x_train, self.data.y_train),
        )
        self.console.print(plan.table())
        masked, pruned = removal.masked(), removal.small_like(sparse)
        images = self.data.x_test
        difference = np.abs(self._predict(masked) - self._predict(pruned))
        self.metrics["pruned"] = {
            **self._measure(pruned),
            "max_abs_diff": float(difference.max()),
        }
        self.console.print(
            f"Pruned model against masked model on {len(images):,} images: "
            f"max |difference| {difference.max():.2g}; accuracy "
            f"{self.metrics['pruned']['accuracy']:.4f} before fine-tuning",
            soft_wrap=True,
            highlight=False,
        )
        files.write_text(stored, plan.to_json())
        files.save_model(pruned, path)
        self._save_state()
        return pruned

    def _fine_tune(self, pruned):
        extra = [callbacks.Freeze()] if self.recipe.keep_zeros else []
        if self.recipe.fine_tune_epochs:
            self._fit("fine-tune", pruned, self.recipe.fine_tune_epochs, *extra)
        self.metrics["small"] = self._measure(pruned)
        return pruned

    def _export(self, dense, small):
        data, recipe = self.data, self.recipe
        jobs = [
            (f"{stage}.{precision}.tflite", model, precision)
            for stage, model in (("dense", dense), ("small", small))
            for precision in recipe.precisions
        ]
        metadata = tflite_export.Metadata(data.classes, name=recipe.name)
        self.metrics["tflite"] = {}
        for name, model, precision in jobs:
            path = self.folder / name
            with self._status(f"{name}: convert"):
                made = tflite_export.convert(
                    model,
                    path,
                    precision,
                    data.x_train[: recipe.representative_samples],
                    metadata=metadata,
                )
            with self._status(f"{name}: check", len(data.x_test)) as update:
                parity = tflite_export.check_parity(
                    model, path, data.x_test, data.y_test, progress=update
                )
            self.metrics["tflite"][name] = {
                "bytes": made.bytes,
                "accuracy": parity.accuracy,
                "max_abs_diff": parity.max_abs_diff,
                "agreement": parity.agreement,
                "parity": parity.met,
            }
            if not parity.met:
                self.console.print(f"[yellow]{parity}", soft_wrap=True)
        first, *others = [self.folder / name for name, _, _ in jobs]
        with self._status("Latency, interleaved runs"):
            timings = tflite_export.benchmark(
                first, others, runs=recipe.latency_runs
            )
        for (name, _, _), timing in zip(jobs, timings, strict=True):
            entry = self.metrics["tflite"][name]
            entry["latency_ms"] = timing.median_ms
            entry["latency_p95_ms"] = timing.p95_ms

    # ---- helpers

    def _load_data(self):
        with self._status(f"Data: {self.recipe.dataset}"):
            try:
                return datasets.load(self.recipe.dataset)
            except datasets.NotAvailable as error:
                if self.recipe.offline is None:
                    raise
                self.recipe = self.recipe.when_offline()
                self.console.print(
                    f"[yellow]{error} Using '{self.recipe.dataset}' instead.",
                    soft_wrap=True,
                )
                return datasets.load(self.recipe.dataset)

    def _new_model(self):
        # Every stage starts from the same weights, resumed or not.
        keras.utils.set_random_seed(self.recipe.seed)
        shape, classes = self.data.input_shape, len(self.data.classes)
        if not self.recipe.model.endswith(".keras"):
            build = models.get(self.recipe.model)
            return build(input_shape=shape, classes=classes)
        model = files.load_model(self.recipe.model)
        if model.input_shape[1:] != shape or model.output_shape[1:] != (
            classes,
        ):
            raise ValueError(
                f"The model must take {shape} and give {classes} class "
                f"probabilities. Received: {model.input_shape[1:]} and "
                f"{model.output_shape[1:]} in {self.recipe.model!r}"
            )
        return model

    def _stage_model(self, stage, make):
        path = self.folder / f"{stage}.keras"
        if path.exists() and stage in self.metrics:
            return files.load_model(path)
        model = make()
        files.save_model(model, path)
        self._save_state()
        return model

    def _fit(self, stage, model, epochs, *extra):
        if self.strategy is None:
            return self._fit_here(stage, model, epochs, *extra)
        with self.strategy.scope():
            # A ProximalModel, since it trains on several workers too.
            replicas = attach(keras.models.clone_model(model), {})
            replicas.set_weights(model.get_weights())
            self._fit_here(stage, replicas, epochs, *extra)
        model.set_weights(replicas.get_weights())

    def _fit_here(self, stage, model, epochs, *extra):
        data, recipe = self.data, self.recipe
        keras.utils.set_random_seed(recipe.seed)
        steps = math.ceil(len(data.x_train) / recipe.batch_size)
        model.compile(
            optimizer=recipe.make_optimizer(steps * epochs),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        self.console.print(
            f"[bold]{stage}[/]: {model.count_params():,} parameters, "
            f"{epochs} epochs"
        )
        record = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._record(stage, epoch, logs)
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
                *extra,
                # Before the backup: an epoch that is backed up has its row,
                # and one that is done again replaces its row.
                record,
                terminal.Epochs(self.console, stage),
                _Backup(
                    str(self.folder / ".backup" / stage),
                    double_checkpoint=True,
                ),
            ],
        )

    def _record(self, stage, epoch, logs):
        row = {"stage": stage, "epoch": epoch + 1}
        row.update({key: float(value) for key, value in logs.items()})
        key = (stage, epoch + 1)
        self.history = [
            old for old in self.history if (old["stage"], old["epoch"]) != key
        ]
        self.history.append(row)
        self._save_state()

    def _measure(self, model):
        found = counts.summary(model)
        predicted = self._predict(model).argmax(-1)
        return {
            "accuracy": float((predicted == self.data.y_test).mean()),
            "params": model.count_params(),
            "macs": found.macs,
        }

    def _predict(self, model):
        return model.predict(self.data.x_test, batch_size=1000, verbose=0)

    def _seconds(self):
        return self._seconds_before + time.monotonic() - self._start

    def _save_state(self):
        state = {
            "metrics": self.metrics,
            "history": self.history,
            "seconds": self._seconds(),
        }
        files.write_text(self.folder / ".state.json", json.dumps(state))
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        files.write_text(self.folder / "history.csv", text.getvalue())

    def _write_metrics(self):
        text = json.dumps(self.metrics, indent=1) + "\n"
        files.write_text(self.folder / "metrics.json", text)

    @contextlib.contextmanager
    def _status(self, text, total=None):
        with terminal.bar(self.console, text, total) as update:
            yield update
