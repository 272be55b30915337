"""The folder of a run, which gets its name when the run is complete."""

import contextlib
import dataclasses
import json
import pathlib
import shutil

import filelock

from keras_nonconvex import files


def tflite_name(network, precision):
    """The name of a LiteRT file in a run folder.

    Args:
        network: `"dense"` or the name of a small network, such as `"small"`.
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
    def splits(self):
        """Which images are for training, validation and test."""
        return self.folder / "splits.json"

    @property
    def front(self):
        """One row per LiteRT file."""
        return self.folder / "front.csv"

    @property
    def report(self):
        """The page for people."""
        return self.folder / "report.html"

    def plan(self, network):
        """The `PruningPlan` of a small network."""
        return self.folder / f"{network}.plan.json"

    def model(self, network):
        """A Keras model: `"dense"`, `"sparse"` or a small network's name."""
        return self.folder / f"{network}.keras"

    def tflite(self, network, precision):
        """The LiteRT file of a network in a precision."""
        return self.folder / tflite_name(network, precision)

    # What an interrupted run goes on from; a complete run has none of it.

    @property
    def unfinished(self):
        """The folder of all that only an interrupted run needs."""
        return self.folder / ".unfinished"

    @property
    def steps(self):
        """The folder of what each step has measured."""
        return self.unfinished / "steps"

    @property
    def backups(self):
        """The folder of Keras' backups of the trainings."""
        return self.unfinished / "backups"

    @property
    def pictures(self):
        """The folder of decoded pictures."""
        return self.unfinished / "pictures"

    @property
    def given(self):
        """A dense network that came as a model and not as a file."""
        return self.unfinished / "given.keras"

    @property
    def lock(self):
        """The lock of the process whose run it is."""
        return self.unfinished / "run.lock"

    def pruned(self, network):
        """A small network after the removal."""
        return self.unfinished / f"{network}.pruned.keras"

    def repaired(self, network):
        """A small network after its repair, before its training."""
        return self.unfinished / f"{network}.repaired.keras"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        recipe: A dict, what recipe.json holds.
        metrics: A dict, what metrics.json holds.
        network: The name of the small network that stands for the run.
        pairs: `{precision: {"dense": path, "small": path}}` of the precisions
            that it and the dense network have.
    """

    recipe: dict
    metrics: dict
    network: str
    pairs: dict

    def check_classifier(self):
        """Refuses a run whose networks do not give each image one class."""
        task = self.metrics.get("task", {})
        if not task.get("one_class_per_image", True):
            raise ValueError(
                "The app and the page are for networks that give each image "
                f"one class. Received: run={self.recipe['name']!r}, judged by "
                f"{task['measure']!r}"
            )


def load(folder, network=None):
    """Reads a run folder.

    Args:
        folder: A string or path: the folder of a complete run.
        network: The name of one of its small networks. Defaults to `None`:
            the one that the run has chosen.

    Returns:
        The `Run`.

    Raises:
        ValueError: The folder lacks the files of a complete run, or has no
            such network.
    """
    paths = Paths(pathlib.Path(folder))
    recipe = _read_json(paths.recipe)
    metrics = _read_json(paths.metrics)
    known = metrics.get("points", ["small"])
    network = network or metrics.get("chosen", known[0])
    if network not in known:
        raise ValueError(
            f"The small networks of this run are {', '.join(known)}. "
            f"Received: network={network!r}"
        )
    pairs = {}
    for precision in recipe.get("precisions", ()):
        pair = {
            "dense": paths.tflite("dense", precision),
            "small": paths.tflite(network, precision),
        }
        if all(path.is_file() for path in pair.values()):
            pairs[precision] = pair
    return Run(recipe, metrics, network, pairs)


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

    def check(self, recipe, resume, force, join=False):
        """Refuses to overwrite what is there, and to resume what is not.

        Args:
            recipe: A string: the text of recipe.json.
            resume: Whether an interrupted run goes on.
            force: Whether a run folder may be replaced.
            join: Whether to help another process.
        """
        if resume + force + join > 1:
            raise ValueError(
                "--resume goes on with a run, --join helps another process "
                "with one, and --force starts anew: choose one. "
                f"Received: resume={resume}, join={join}, force={force}"
            )
        if not join and self._busy():
            raise ValueError(
                "Another process is at this run: use --join to help it. "
                f"Received: {str(self.part)!r}"
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
        if resume or join:
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

    def _busy(self):
        """Whether a process is at the run."""
        if not self.paths.lock.exists():
            return False
        try:
            with filelock.FileLock(self.paths.lock, timeout=0):
                return False
        except filelock.Timeout:
            return True

    @contextlib.contextmanager
    def begun(self, recipe, resume, join=False):
        """A scope in which the run works in its folder.

        Args:
            recipe: A string: the text of recipe.json.
            resume: Whether to go on with what is there.
            join: Whether another process may be at it.

        Yields:
            A function to call once the run can work. If the scope ends with
            an error before, a new folder vanishes.
        """
        if self.part.exists() and not (resume or join):
            shutil.rmtree(self.part)
        new, works = not self.part.exists(), []
        self.paths.steps.mkdir(parents=True, exist_ok=True)
        try:
            with self._owned(join):
                if not join:
                    files.write_text(self.paths.recipe, recipe)
                yield lambda: works.append(True)
        except BaseException:
            if new and not works:
                shutil.rmtree(self.part, ignore_errors=True)
            raise

    def _owned(self, join):
        """The lock of the run, which a process that joins has not."""
        if join:
            return contextlib.nullcontext()
        return filelock.FileLock(self.paths.lock, timeout=0)

    def finish(self):
        """Gives the folder its final name; a folder of that name is deleted.

        Of several processes at the run, one does so.
        """
        shutil.rmtree(self.paths.unfinished, ignore_errors=True)
        old = self.out.with_name(self.out.name + ".old")
        try:
            if self.out.exists():
                shutil.rmtree(old, ignore_errors=True)
                self.out.rename(old)
            self.part.rename(self.out)
        except FileNotFoundError:
            return
        shutil.rmtree(old, ignore_errors=True)
