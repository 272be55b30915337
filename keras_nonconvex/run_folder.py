"""What the folder of a run holds."""

import dataclasses
import json
import pathlib

# In the folder of the steps, from the beginning of a run to its end.
BEGUN = "begun"


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
        folder: A `pathlib.Path`: the folder.
        recipe: A dict, what recipe.json holds.
        metrics: A dict, what metrics.json holds.
        network: The name of the small network that stands for the run.
        pairs: `{precision: {"dense": path, "small": path}}` of the precisions
            that it and the dense network have.
    """

    folder: pathlib.Path
    recipe: dict
    metrics: dict
    network: str
    pairs: dict

    @property
    def fit(self):
        """How pictures of other proportions got the size of the input."""
        return self.recipe.get("fit", "stretch")

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
    return Run(paths.folder, recipe, metrics, network, pairs)


def _read_json(path):
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Not a finished run folder: it has no {path.name}. "
            f"Received: run={str(path.parent)!r}"
        ) from error
