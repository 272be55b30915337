"""The main job: data -> dense -> sparse -> small -> LiteRT -> report."""

import dataclasses
import pathlib

import keras
import numpy as np
from rich.console import Console

from keras_nonconvex import callbacks
from keras_nonconvex import counts
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import models
from keras_nonconvex import outputs
from keras_nonconvex import samples
from keras_nonconvex import terminal
from keras_nonconvex.compression import distribution
from keras_nonconvex.compression import litert
from keras_nonconvex.compression import report
from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.compression.state import State
from keras_nonconvex.compression.trainer import Trainer
from keras_nonconvex.pruning import planning
from keras_nonconvex.run_folder import Paths
from keras_nonconvex.run_folder import RunFolder
from keras_nonconvex.training.attachment import attach


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run of `compress`.

    Attributes:
        folder: A `pathlib.Path`: the run folder.
        metrics: A dict: what its `metrics.json` holds.
    """

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
    """Runs a recipe: from data to a small network, LiteRT files and a report.

    The stages are a dense baseline, sparse training, the removal of channels,
    the fine-tuning of the small network, and the export of both networks.
    While they run, everything is in `OUT.part`; the folder gets its final
    name when the run is complete. An interrupted run goes on from its last
    finished epoch with `resume=True`.

    Args:
        recipe: A `Recipe`; a dict with its keys; the path of a JSON file with
            them; or the name of a recipe that ships, such as `"demo"`, one of
            `Recipe.shipped()`.
        out: A string or path: the run folder to write. Defaults to `None`,
            which stands for `"runs/NAME"` with the name of the recipe.
        resume: A boolean: whether to go on with an interrupted run of the
            same recipe. Defaults to `False`.
        force: A boolean: whether to replace a run folder that exists.
            Folders that are not run folders are never replaced. Defaults to
            `False`.
        console: A `rich.console.Console` that shows the progress. Defaults to
            `None`, the terminal.
        strategy: How to train on several devices: `"mirrored"`,
            `"multi-worker"` (see `distribution.get`) or a `tf.distribute`
            strategy. A batch of `batch_size` images is then divided among
            all devices. Every worker but the first writes a folder of its
            own, `OUT.worker1` and so on. Defaults to `None`, one device.

    Returns:
        A `Result` with the run folder and the metrics.

    Raises:
        ValueError: The recipe cannot work, or the folder exists. This is
            said before anything is written.
        datasets.NotAvailable: The data cannot be had, and the recipe has no
            `offline` settings.

    Example:
    ```python
    result = knc.compress("demo")
    result.metrics["small"]["accuracy"]
    ```
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
    run = _Run(recipe, folder.paths, console or Console(), resume, strategy)
    folder.begin(resume)
    run.all_stages()
    folder.finish()
    run.console.print(f"Report: [bold]{Paths(out).report}")
    return Result(out, run.metrics)


class _Run:
    """One run in its folder; a stage that is on disk is not done again."""

    def __init__(self, recipe, paths, console, resume, strategy):
        self.given = self.recipe = recipe
        self.paths = paths
        self.console = console
        self.state = State(paths, resume)
        self.metrics = self.state.metrics
        # What can be refused is refused before anything is written.
        self.data = self._load_data()
        model = self._new_model()
        self.output = self._classifier(model)
        attach(model, self.recipe.rules())
        self.trainer = Trainer(
            self.recipe,
            self.data,
            self.output,
            self.state,
            paths,
            console,
            strategy,
        )

    def all_stages(self):
        files.write_text(self.paths.recipe, self.given.to_json())
        self.metrics["dataset"] = self.data.name
        dense = self._stage_model("dense", self._dense)
        if self.recipe.long_baseline and "dense_long" not in self.metrics:
            self._dense_long()
        sparse = self._stage_model("sparse", self._sparse)
        pruned = self._prune(sparse)
        small = self._stage_model("small", lambda: self._fine_tune(pruned))
        self.metrics["tflite"] = litert.write(
            {"dense": dense, "small": small},
            self.recipe,
            self.data,
            self.paths,
            self.console,
        )
        self.metrics["seconds"] = round(self.state.seconds(), 1)
        self.state.write_metrics()
        with terminal.bar(self.console, "Report"):
            report.write(self.paths, self.recipe, self.state, self.data)
        self.paths.remove_unfinished()

    # ---- stages

    def _dense(self):
        model = self._new_model()
        self.trainer.fit("dense", model, self.recipe.epochs)
        self.metrics["dense"] = self._measure(model)
        return model

    def _dense_long(self):
        model = self._new_model()
        epochs = self.recipe.epochs + self.recipe.fine_tune_epochs
        self.trainer.fit("dense_long", model, epochs)
        self.metrics["dense_long"] = self._measure(model)
        self.state.save()

    def _sparse(self):
        model = attach(self._new_model(), self.recipe.rules())
        self.trainer.fit(
            "sparse", model, self.recipe.epochs, callbacks.SparsityMonitor()
        )
        summary = counts.summary(model)
        self.metrics["sparse"] = {
            **self._measure(model),
            "zero_weights": summary.zero_weights,
            "zero_filters": summary.zero_filters,
            "weights": summary.weights,
            "filters": summary.filters,
        }
        return model

    def _prune(self, sparse):
        recipe, paths = self.recipe, self.paths
        if (
            "pruned" in self.metrics
            and paths.pruned.exists()
            and paths.plan.exists()
        ):
            return files.load_model(paths.pruned)
        plan, removal = planning.planned(
            sparse,
            recipe.criterion,
            recipe.budget,
            recipe.round_to,
            data=(self.data.x_train, self.data.y_train),
        )
        self.console.print(plan.table())
        masked, pruned = removal.masked(), removal.small_like(sparse)
        difference = np.abs(self._predict(masked) - self._predict(pruned))
        self.metrics["pruned"] = {
            **self._measure(pruned),
            "max_abs_diff": float(difference.max()),
        }
        terminal.say(
            self.console,
            "Pruned model against masked model on "
            f"{len(self.data.x_test):,} images: "
            f"max |difference| {difference.max():.2g}; accuracy "
            f"{self.metrics['pruned']['accuracy']:.4f} before fine-tuning",
        )
        files.write_text(paths.plan, plan.to_json())
        files.save_model(pruned, paths.pruned)
        self.state.save()
        return pruned

    def _fine_tune(self, pruned):
        extra = [callbacks.Freeze()] if self.recipe.keep_zeros else []
        epochs = self.recipe.fine_tune_epochs
        if epochs:
            self.trainer.fit("fine-tune", pruned, epochs, *extra)
        self.metrics["small"] = self._measure(pruned)
        return pruned

    # ---- helpers

    def _load_data(self):
        with terminal.bar(self.console, f"Data: {self.recipe.dataset}"):
            try:
                data = self._read_data()
            except datasets.NotAvailable as error:
                if self.recipe.offline is None:
                    raise
                self.recipe = self.recipe.when_offline()
                terminal.say(
                    self.console,
                    f"{error} Using '{self.recipe.dataset}' instead.",
                    "yellow",
                )
                data = self._read_data()
        if data.y_train is None or not data.classes:
            raise ValueError(
                "The data set of a recipe must have labels and class names. "
                f"Received: dataset={self.recipe.dataset!r} without them"
            )
        labels = {
            split: samples.class_numbers(getattr(data, split), "dataset")
            for split in ("y_train", "y_test")
        }
        return dataclasses.replace(data, **labels)

    def _read_data(self):
        return samples.data_set(self.recipe.dataset, self._own_model())

    def _own_model(self):
        """The user's model, or None where the recipe names a network."""
        if self.recipe.model.endswith(".keras"):
            return files.load_model(self.recipe.model)
        return None

    def _new_model(self):
        # Every stage starts from the same weights, resumed or not.
        keras.utils.set_random_seed(self.recipe.seed)
        shape, classes = self.data.input_shape, len(self.data.classes)
        model = self._own_model()
        if model is None:
            build = models.get(self.recipe.model)
            return build(input_shape=shape, classes=classes)
        if model.input_shape[1:] != shape:
            raise ValueError(
                f"The model must take {shape}. Received: "
                f"{model.input_shape[1:]} in {self.recipe.model!r}"
            )
        return model

    def _classifier(self, model):
        """The one output of a model, which must answer with the classes."""
        classes = len(self.data.classes)
        found = outputs.of(model)
        answers = [(output.kind, output.shape[1:]) for output in found]
        legal = [(outputs.CLASSES, (classes,))]
        if classes == 2:
            legal.append((outputs.YES_NO, (1,)))
        if len(found) != 1 or answers[0] not in legal:
            raise ValueError(
                f"The model must give probabilities or logits of {classes} "
                "classes, or of one unit for two; compile it with its loss "
                "where its last layer does not tell. Received: "
                + ", ".join(f"{kind} of shape {s}" for kind, s in answers)
                + f" in {self.recipe.model!r}"
            )
        return found[0]

    def _stage_model(self, stage, make):
        path = self.paths.model(stage)
        if path.exists() and stage in self.metrics:
            return files.load_model(path)
        model = make()
        files.save_model(model, path)
        self.state.save()
        return model

    def _measure(self, model):
        predicted = self._predict(model)
        return {
            "accuracy": self.output.accuracy(predicted, self.data.y_test),
            "params": model.count_params(),
            "macs": counts.summary(model).macs,
        }

    def _predict(self, model):
        return model.predict(self.data.x_test, batch_size=1000, verbose=0)
