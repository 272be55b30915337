"""The settings of one compression run, as data."""

import dataclasses
import difflib
import importlib.resources
import json
import pathlib

import keras

from keras_nonconvex import checks
from keras_nonconvex import models
from keras_nonconvex import regularizers
from keras_nonconvex.pruning import planning
from tflite_export.precisions import PRECISIONS

# {key: its least value}
_WHOLE_NUMBERS = {
    "epochs": 1,
    "batch_size": 1,
    "latency_runs": 1,
    "representative_samples": 1,
    "fine_tune_epochs": 0,
    "seed": 0,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a compression run, from data to exports.

    It converts to JSON and back. The keys of the JSON object are these
    arguments; only `name` and `regularizers` are needed.

    Args:
        name: A string without a slash: the name of the run, and of its folder
            by default.
        regularizers: A dict. Its keys are patterns of layer names such as
            `"conv*"`; its values are regularizers, as
            `{"name": "sparse_group_tl1", "strength": 1e-5}` with the
            arguments of the class, or `None`. The first pattern that matches
            a layer counts, as in `attach`. They act in the sparse training.
        dataset: A string that `datasets.load` takes: the name of a data set
            with labels and class names. Defaults to `"fashion_mnist"`.
        offline: A dict of recipe keys, `"dataset"` among them, that replace
            those given here if `dataset` is neither prepared on this machine
            nor reachable; the run says so. Defaults to `None`: the run then
            ends with an error.
        model: A string: the name of a network in `models`, or the path of a
            `.keras` file. The network takes images with values in `[0, 1]`,
            or in the range that its first layers say (`Rescaling`,
            `Normalization`), and returns probabilities or logits of the
            classes, or of the second one where there are two. Defaults to
            `"lenet5"`.
        optimizer: A dict: the `"name"` of a Keras optimizer, and its
            arguments but the learning rate. Defaults to
            `{"name": "sgd", "momentum": 0.9, "nesterov": True}`.
        learning_rate: A number > 0: the learning rate at the start of each
            training. It falls to zero along a cosine. Defaults to `0.05`.
        batch_size: An integer >= 1: the images per training step. Defaults to
            `128`.
        epochs: An integer >= 1: the epochs of the dense training, and again
            of the sparse training. Defaults to `10`.
        fine_tune_epochs: An integer >= 0: the epochs in which the small
            network is trained without a penalty. Defaults to `5`.
        criterion: A string: what chooses the channels to remove, one of the
            criteria of `pruning.plan`. Defaults to `None`: exact zeros
            without a budget, `"output_change"` with one.
        budget: A dict: what may remain, such as
            `{"params": 0.1, "macs": "35%"}`, as in `pruning.plan`. Defaults
            to `None`: only exact zeros are removed.
        round_to: An integer >= 1: the channels of each layer are rounded up
            to a multiple of it. Defaults to `None`: 1 without a budget, 8
            with one.
        keep_zeros: A boolean: whether single zero weights stay zero in the
            fine-tuning. Defaults to `False`.
        long_baseline: A boolean: whether to train another dense network for
            `epochs + fine_tune_epochs`, to compare with. Defaults to `False`.
        precisions: A list of strings, precisions of `tflite_export.convert`
            with `"float32"` among them: those of the LiteRT files of the
            dense and the small network. Defaults to
            `("float32", "float16", "dynamic", "int8")`.
        representative_samples: An integer >= 1: how many training images set
            the ranges of quantized files. Defaults to `300`.
        latency_runs: An integer >= 1: how often every LiteRT file is timed.
            Defaults to `1000`.
        seed: An integer >= 0: the seed of everything random. Defaults to `0`.

    Example:
    >>> recipe = knc.Recipe("mine", {"*": {"name": "group_lasso"}}, epochs=2)
    >>> knc.Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    True
    """

    name: str
    regularizers: dict
    dataset: str = "fashion_mnist"
    offline: dict | None = None
    model: str = "lenet5"
    optimizer: dict = dataclasses.field(
        default_factory=lambda: {
            "name": "sgd",
            "momentum": 0.9,
            "nesterov": True,
        }
    )
    learning_rate: float = 0.05
    batch_size: int = 128
    epochs: int = 10
    fine_tune_epochs: int = 5
    criterion: str | None = None
    budget: dict | None = None
    round_to: int | None = None
    keep_zeros: bool = False
    long_baseline: bool = False
    precisions: tuple = ("float32", "float16", "dynamic", "int8")
    representative_samples: int = 300
    latency_runs: int = 1000
    seed: int = 0

    def __post_init__(self):
        for field, least in _WHOLE_NUMBERS.items():
            number = checks.whole(field, getattr(self, field), least)
            object.__setattr__(self, field, number)
        for field in ("keep_zeros", "long_baseline"):
            self._require(field, lambda v: isinstance(v, bool), "true or false")
        for field in ("dataset", "model"):
            self._require(field, lambda v: isinstance(v, str), "a name")
        self._require(
            "name",
            lambda v: isinstance(v, str) and v and "/" not in v,
            "a name that can be a folder's",
        )
        self._require(
            "learning_rate",
            lambda v: isinstance(v, (int, float)) and v > 0,
            "a number > 0",
        )
        for field in ("regularizers", "optimizer"):
            self._require(field, lambda v: isinstance(v, dict), "an object")
        self._require(
            "precisions",
            lambda v: (
                isinstance(v, (list, tuple))
                and "float32" in v
                and set(v) <= set(PRECISIONS)
            ),
            f"a list of {', '.join(PRECISIONS)} that has 'float32'",
        )
        planning.check(self.criterion, self.budget, self.round_to)
        object.__setattr__(self, "precisions", tuple(self.precisions))
        if self.offline is not None:
            self._require(
                "offline",
                lambda v: isinstance(v, dict) and "dataset" in v,
                "a dict of recipe keys, `dataset` among them",
            )
            self.when_offline()
        # Wrong names show now, not after an hour of training.
        self.rules()
        self.make_optimizer(1)
        if not self.model.endswith(".keras"):
            models.get(self.model)

    def _require(self, field, legal, expected):
        value = getattr(self, field)
        if not legal(value):
            raise ValueError(
                f"Recipe key `{field}` must be {expected}. "
                f"Received: {field}={value!r}"
            )

    def rules(self):
        """The regularizers by layer name pattern, for `attach`."""
        return {
            pattern: settings and regularizers.get(settings)
            for pattern, settings in self.regularizers.items()
        }

    def when_offline(self):
        """The recipe with its `offline` settings in place."""
        settings = {**dataclasses.asdict(self), **self.offline}
        return Recipe.from_dict({**settings, "offline": None})

    def make_optimizer(self, steps):
        """A new optimizer.

        Args:
            steps: An integer: the training steps after which the learning
                rate reaches zero.
        """
        settings = dict(self.optimizer)
        schedule = keras.optimizers.schedules.CosineDecay(
            self.learning_rate, max(steps, 1)
        )
        try:
            return keras.optimizers.get(
                {
                    "class_name": settings.pop("name", "sgd"),
                    "config": {**settings, "learning_rate": schedule},
                }
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                "Recipe key `optimizer` must be a Keras optimizer's name and "
                f"settings. Received: optimizer={self.optimizer!r}"
            ) from error

    def to_json(self):
        """The recipe as JSON text, every key written out."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_dict(cls, settings):
        """Makes a recipe.

        Args:
            settings: A dict with the keys of a recipe. Unknown keys are
                refused.
        """
        if not isinstance(settings, dict):
            raise ValueError(
                f"A recipe must be a JSON object. Received: {settings!r}"
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                raise ValueError(
                    f"A recipe has no key `{key}`.{hint} Known keys: "
                    f"{', '.join(known)}. Received: {key}={settings[key]!r}"
                )
        for key in ("name", "regularizers"):
            if key not in settings:
                raise ValueError(
                    f"A recipe needs the key `{key}`. "
                    f"Received: keys {', '.join(settings) or 'none'}"
                )
        return cls(**settings)

    @staticmethod
    def shipped():
        """The names of the recipes that ship, as a list."""
        return list(_shipped())

    @classmethod
    def load(cls, source):
        """Reads a recipe.

        Args:
            source: A string or path: a JSON file, or the name of a recipe
                that ships, one of `Recipe.shipped()`.
        """
        path = pathlib.Path(source)
        if path.suffix == "" and not path.exists():
            shipped = _shipped()
            if str(source) not in shipped:
                raise ValueError(
                    "No such recipe: give a JSON file or one of "
                    f"{', '.join(shipped)}. Received: {str(source)!r}"
                )
            path = shipped[str(source)]
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(
                f"Cannot read the recipe ({error.strerror}). "
                f"Received: {str(source)!r}"
            ) from error
        except ValueError as error:
            raise ValueError(
                f"The recipe is not JSON ({error}). Received: {str(source)!r}"
            ) from error
        return cls.from_dict(settings)


def _shipped():
    """{name: path} of the recipes that ship."""
    folder = importlib.resources.files(__package__) / "recipes"
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    return {
        path.name.removesuffix(".json"): path
        for path in paths
        if path.name.endswith(".json")
    }
