"""The folder of a run, which gets its name when the run is complete."""

import dataclasses
import json
import pathlib
import shutil

# The pruned network's files are called small.
NETWORKS = ("dense", "small")


def tflite_name(network, precision):
    """The name of a LiteRT file in a run folder.

    Args:
        network: `"dense"` or `"small"`.
        precision: A string, the precision of the file, such as `"int8"`.
    """
    return f"{network}.{precision}.tflite"


@dataclasses.dataclass(frozen=True)
class Paths:
    """Where the files of a run are.

    Args:
        folder: A `pathlib.Path`: the run folder, complete or in the making.
    """

    folder: pathlib.Path

    @property
    def recipe(self):
        """The settings, as `Recipe.to_json` writes them."""
        return self.folder / "recipe.json"

    @property
    def metrics(self):
        """The measured numbers of every network and file."""
        return self.folder / "metrics.json"

    @property
    def history(self):
        """One row per epoch."""
        return self.folder / "history.csv"

    @property
    def plan(self):
        """The `PruningPlan`."""
        return self.folder / "plan.json"

    @property
    def report(self):
        """The page for people."""
        return self.folder / "report.html"

    def model(self, stage):
        """The Keras model of a stage: `"dense"`, `"sparse"` or `"small"`."""
        return self.folder / f"{stage}.keras"

    def tflite(self, network, precision):
        """The LiteRT file of a network in a precision."""
        return self.folder / tflite_name(network, precision)

    # What an interrupted run goes on from; a complete run has none of it.

    @property
    def state(self):
        """Metrics, history and seconds up to now."""
        return self.folder / ".state.json"

    @property
    def pruned(self):
        """The pruned model before its fine-tuning."""
        return self.folder / ".pruned.keras"

    @property
    def backups(self):
        """The folder of Keras' backups of the training stages."""
        return self.folder / ".backup"

    def remove_unfinished(self):
        """Deletes what only an interrupted run needs."""
        shutil.rmtree(self.backups, ignore_errors=True)
        for path in (self.state, self.pruned):
            path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        recipe: A dict, what recipe.json holds.
        metrics: A dict, what metrics.json holds.
        pairs: `{precision: {"dense": path, "small": path}}` of the precisions
            that both networks have.
    """

    recipe: dict
    metrics: dict
    pairs: dict


def load(folder):
    """Reads a run folder.

    Args:
        folder: A string or path: the folder of a complete run.

    Returns:
        The `Run`.

    Raises:
        ValueError: The folder lacks the files of a complete run.
    """
    paths = Paths(pathlib.Path(folder))
    recipe = _read_json(paths.recipe)
    metrics = _read_json(paths.metrics)
    pairs = {}
    for precision in recipe.get("precisions", ()):
        pair = {
            network: paths.tflite(network, precision) for network in NETWORKS
        }
        if all(path.is_file() for path in pair.values()):
            pairs[precision] = pair
    return Run(recipe, metrics, pairs)


def _read_json(path):
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Not a finished run folder: it has no {path.name}. "
            f"Received: run={str(path.parent)!r}"
        ) from error


class RunFolder:
    """A run folder in the making.

    Args:
        out: A `pathlib.Path`: the folder that the complete run will be in.

    Attributes:
        part: The folder that the run works in until then, `OUT.part`.
        paths: The `Paths` in `part`.
    """

    def __init__(self, out):
        self.out = out
        self.part = out.with_name(out.name + ".part")
        self.paths = Paths(self.part)

    def check(self, recipe, resume, force):
        """Refuses to overwrite what is there, and to resume what is not.

        Args:
            recipe: A string: the text of recipe.json.
            resume: Whether an interrupted run goes on.
            force: Whether a run folder may be replaced.
        """
        if resume and force:
            raise ValueError(
                "--resume goes on with a run and --force starts anew: choose "
                "one. Received: both"
            )
        out, part = self.out, self.part
        for folder in (out, part):
            known = folder.is_dir() and (
                Paths(folder).recipe.exists() or not any(folder.iterdir())
            )
            if folder.exists() and force and not known:
                raise ValueError(
                    "--force replaces run folders only, and this is none. "
                    f"Received: {str(folder)!r}"
                )
        if resume:
            if not part.exists():
                state = "is complete" if out.exists() else "was not begun"
                raise ValueError(
                    f"There is no interrupted run to resume: this one {state}. "
                    f"Received: {str(part)!r}"
                )
            before = self.paths.recipe
            if before.exists() and before.read_text() != recipe:
                raise ValueError(
                    "The interrupted run has another recipe; use --force to "
                    f"start anew. Received: {str(before)!r}"
                )
        elif not force:
            if out.exists():
                raise ValueError(
                    "The output folder exists; use --force to replace it or "
                    f"--out for another. Received: out={str(out)!r}"
                )
            if part.exists():
                raise ValueError(
                    "An interrupted run is in the way; use --resume to go on "
                    f"with it or --force to start anew. Received: {str(part)!r}"
                )

    def begin(self, resume):
        """Makes the working folder, or keeps that of the run to resume."""
        if self.part.exists() and not resume:
            shutil.rmtree(self.part)
        self.part.mkdir(parents=True, exist_ok=True)

    def finish(self):
        """Gives the folder its final name; a folder of that name is deleted."""
        if not self.out.exists():
            self.part.rename(self.out)
            return
        old = self.out.with_name(self.out.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        self.out.rename(old)
        self.part.rename(self.out)
        shutil.rmtree(old)
