"""The main job: data -> dense -> small networks -> LiteRT files -> report."""

import dataclasses
import pathlib

import keras
from rich.console import Console

from keras_nonconvex import files
from keras_nonconvex import run_folder
from keras_nonconvex.compression import distribution
from keras_nonconvex.compression import reading
from keras_nonconvex.compression import stages
from keras_nonconvex.compression import trial
from keras_nonconvex.compression.job import Job
from keras_nonconvex.compression.making import RunFolder
from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.compression.steps import carry_out
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.run_folder import Paths

# What remains of a model where nothing else is asked for.
_BUDGET = {"macs": 0.5}


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run of `compress`.

    Attributes:
        folder: A `pathlib.Path`: the run folder.
        metrics: A dict: what its `metrics.json` holds.
    """

    folder: pathlib.Path
    metrics: dict

    @property
    def model(self):
        """The small network that was chosen, a Keras model."""
        return files.load_model(self._paths.model(self.metrics["chosen"]))

    @property
    def plan(self):
        """Its `PruningPlan`, against the network that it was made of."""
        path = self._paths.plan(self.metrics["chosen"])
        return PruningPlan.from_json(path.read_text())

    @property
    def files(self):
        """Its LiteRT files, a dict of precision -> path."""
        pairs = run_folder.load(self.folder).pairs
        return {precision: pair["small"] for precision, pair in pairs.items()}

    @property
    def _paths(self):
        return Paths(self.folder)


def compress(
    recipe,
    data=None,
    out=None,
    resume=False,
    force=False,
    join=False,
    console=None,
    strategy=None,
    callbacks=(),
    **settings,
):
    """Makes small networks of one: from data to LiteRT files and a report.

    The steps are a dense network, trained or given; perhaps sparse training;
    for each budget the removal of channels, the repair of what is left and
    its fine-tuning; and the export of all networks. While they run,
    everything is in `OUT.part`; the folder gets its final name when the run
    is complete. An interrupted run goes on with `resume=True` from what is
    done, down to the last epoch.

    Args:
        recipe: A `Recipe`; a dict with its keys; the path of a JSON file with
            them; the name of a recipe that ships, such as `"demo"`, one of
            `Recipe.shipped()`; or a model: the path of a `.keras` file, a
            built `keras.Model`, or the name of a network of `models`.
        data: What the recipe's `dataset` is, or images of your own, as
            `datasets.splits` takes them. Defaults to `None`: the recipe says
            it.
        out: A string or path: the run folder to write. Defaults to `None`,
            which stands for `"runs/NAME"` with the name of the recipe.
        resume: A boolean: whether to go on with an interrupted run of the
            same recipe. Defaults to `False`.
        force: A boolean: whether to replace a run folder that exists.
            Folders that are not run folders are never replaced. Defaults to
            `False`.
        join: A boolean: whether to help another process with a run of the
            same recipe that it is at, on this machine or another one that
            shares the folder. Defaults to `False`.
        console: A `rich.console.Console` that shows the progress. Defaults to
            `None`, the terminal.
        strategy: How to train on several devices: `"mirrored"`,
            `"multi-worker"` (see `distribution.get`) or a `tf.distribute`
            strategy. A batch of `batch_size` images is then divided among
            all devices. Every worker but the first writes a folder of its
            own, `OUT.worker1` and so on. Defaults to `None`, one device.
        callbacks: A list of Keras callbacks that all trainings get, such as
            `keras.callbacks.TensorBoard`. Defaults to `()`.
        **settings: Recipe keys, which replace those of the recipe.

    Returns:
        A `Result`: the run folder, the metrics, the chosen small network, its
        plan and its LiteRT files.

    Raises:
        ValueError: The recipe cannot work, or the folder exists. This is
            said before anything is written.
        datasets.NotAvailable: The data cannot be had, and the recipe has no
            `offline` settings.

    Example:
    ```python
    result = knc.compress("mine.keras", "photos", budget={"macs": 0.5})
    result.model.summary()
    ```
    """
    if isinstance(strategy, str):
        strategy = distribution.get(strategy)
    recipe, model, data = _understood(recipe, data, settings)
    out = pathlib.Path(out or pathlib.Path("runs") / recipe.name)
    if strategy is not None and distribution.worker():
        out = out.with_name(f"{out.name}.worker{distribution.worker()}")
    folder = RunFolder(out)
    folder.check(recipe.to_json(), resume, force, join)
    with folder.begun(recipe.to_json(), resume, join) as works:
        job = Job(
            recipe,
            folder.paths,
            console or Console(),
            strategy,
            callbacks,
            model=model,
            data=data,
        )
        if not folder.paths.splits.exists():
            trial.check(job)
            works()
            job.data.save_lists(folder.paths.splits)
        if carry_out(stages.steps(job), job.records, job.recipe.seed):
            folder.finish(join)
    job.console.print(f"Report: [bold]{Paths(out).report}")
    return Result(out, run_folder.load(out).metrics)


def _understood(recipe, data, settings):
    """(the `Recipe`, a model or None, data or None) of what was given."""
    model = None
    if isinstance(recipe, keras.Model):
        model, recipe = recipe, {"model": f"{recipe.name}.keras"}
    elif isinstance(recipe, Recipe):
        recipe = dataclasses.asdict(recipe)
    elif not isinstance(recipe, dict):
        recipe = reading.settings(recipe)
    if isinstance(data, (str, pathlib.Path)):
        settings, data = {"dataset": str(data), **settings}, None
    elif data is not None:
        settings = {"dataset": "given", **settings}
    merged = {**recipe, **settings}
    own = str(merged.get("model", "")).endswith(".keras")
    if own and "dataset" not in merged:
        raise ValueError(
            "A model of your own needs data of its own: give `data` "
            "(--data in a shell), or `dataset` in the recipe. "
            f"Received: model={merged['model']!r}"
        )
    asked = {"budget", "sparse", "regularizers"} & set(merged)
    if set(recipe) == {"model"} and not asked:
        # A model alone has no zeros to remove.
        merged["budget"] = dict(_BUDGET)
    return Recipe.from_dict(merged), model, data
