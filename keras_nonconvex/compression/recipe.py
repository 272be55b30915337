"""The settings of one compression run, as data."""

import dataclasses
import difflib
import importlib.resources
import json
import pathlib

import keras

from keras_nonconvex import models
from keras_nonconvex import regularizers
from keras_nonconvex.pruning import planning
from tflite_export.precisions import PRECISIONS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What `compress` does, from data to exports. JSON both ways.

    Attributes:
        name: Names the run and its folder.
        dataset: A name that `datasets.load` takes.
        offline: Settings that take the place of these, a `dataset` among
            them, where `dataset` is neither prepared nor reachable; it is
            said so. None to fail instead.
        model: A network of `models`, or the path of a `.keras` file.
        regularizers: Layer name pattern -> {"name": ..., settings} or None,
            as in `attach`; the first pattern that matches counts.
        optimizer: Keras name and settings, {"name": "sgd", "momentum": 0.9}.
        learning_rate: At the start; it follows a cosine down to zero.
        batch_size: Training batch.
        epochs: Of the dense baseline and of the sparse training, each.
        fine_tune_epochs: Of the small model, without penalty.
        criterion, budget, round_to: As in `pruning.plan`.
        keep_zeros: Whether single zero weights stay zero in fine-tuning.
        long_baseline: Also train a dense model for all epochs together.
        precisions: Of the LiteRT files of the dense and the small model.
        representative_samples: Training images that set int8 ranges.
        latency_runs: Interleaved runs of the latency measurement.
        seed: Of everything random.
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
        for field in ("epochs", "batch_size", "latency_runs"):
            self._require(field, lambda v: _is_int(v) and v >= 1, ">= 1")
        for field in ("fine_tune_epochs", "seed"):
            self._require(field, lambda v: _is_int(v) and v >= 0, ">= 0")
        self._require(
            "representative_samples", lambda v: _is_int(v) and v >= 1, ">= 1"
        )
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
            "above 0",
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
        """A fresh optimizer whose rate reaches zero after `steps`."""
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
        """A recipe from a dict; unknown keys are refused."""
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

    @classmethod
    def load(cls, source):
        """A recipe from a JSON file, or one that ships, by its name."""
        path = pathlib.Path(source)
        shipped = importlib.resources.files(__package__) / "recipes"
        names = sorted(
            p.name[:-5] for p in shipped.iterdir() if p.name.endswith(".json")
        )
        if path.suffix == "" and not path.exists():
            if str(source) not in names:
                raise ValueError(
                    "No such recipe: give a JSON file or one of "
                    f"{', '.join(names)}. Received: {str(source)!r}"
                )
            path = shipped / f"{source}.json"
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


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)
