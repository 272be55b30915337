"""The settings of one compression run, as data."""

import dataclasses
import json
import pathlib

import keras

from keras_nonconvex import models
from keras_nonconvex import regularizers
from keras_nonconvex import solvers
from keras_nonconvex.compression import keys
from keras_nonconvex.compression import points
from keras_nonconvex.compression import reading
from keras_nonconvex.pruning import options


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a compression run, from data to exports.

    It converts to JSON and back. The keys of the JSON object are these
    arguments; without any, a LeNet-5 is trained on Fashion-MNIST.

    Args:
        name: A string without a slash: the name of the run, and of its folder
            by default. Defaults to `None`: the names of the model and of the
            data.
        model: A string: the name of a network in `models`, or the path of a
            `.keras` file. The network takes images with values in `[0, 1]`,
            or in the range that its first layers say (`Rescaling`,
            `Normalization`), and returns what the data has: classes, answers
            of yes or no, values, or maps of them. It is trained by the loss,
            and judged by the first metric, that it was compiled with; where
            each image has one class, by its accuracy. Networks with a name
            give classes. Defaults to `"lenet5"`.
        size: An integer >= 1: the height and width of the images of a network
            with a name. Defaults to `None`: those of the data.
        dataset: A string that `datasets.splits` takes: a folder of pictures,
            a file, or the name of a data set with labels and class names.
            Defaults to `"fashion_mnist"`.
        fit: A string: how pictures of other proportions get the shape of the
            model's input, `"stretch"`, `"crop"` or `"pad"`. Defaults to
            `"stretch"`.
        antialias: A boolean: how pictures are made smaller, as
            `datasets.splits` takes it. Defaults to `True`.
        augment: A dict of random changes of the training images, such as
            `{"flip": "horizontal", "crop": 4}`, as `Split.dataset` takes it.
            Defaults to `None`: only those that the model makes itself.
        class_weights: `"balanced"`, or a dict of classes to numbers, as
            `Split.dataset` takes it. Defaults to `None`.
        offline: A dict of recipe keys, `"dataset"` among them, that replace
            those given here if `dataset` is neither prepared on this machine
            nor reachable; the run says so. Defaults to `None`: the run then
            ends with an error.
        train: A boolean: whether the dense network is trained first. Defaults
            to `None`: a network with a name is, that of a file is not.
        regularizers: A dict. Its keys are patterns of layer names such as
            `"conv*"`; its values are regularizers, as
            `{"name": "sparse_group_tl1", "strength": 1e-5}` with the
            arguments of the class, or `None`. The first pattern that matches
            a layer counts, as in `attach`. They act in the sparse training.
            Defaults to `None`: there is no sparse training, and what goes is
            chosen in the dense network.
        sparse: A string: the name of a regularizer for all kernels in place
            of `regularizers`. Its strength is a small part of `strength_max`;
            the filters that it makes smallest become zero up to `target` in
            the first half of the training, and the others recover in the
            second. Defaults to `None`.
        target: A number in (0, 1): the fraction of the filters that the
            sparse training makes zero; all strengths are adapted together
            after each epoch. Defaults to `None`: with `regularizers`
            strengths stay as they are; with `sparse` it is what the smallest
            budget asks for, or a half.
        solver: A dict: the `"name"` of a solver, and its arguments, for the
            sparse training. Defaults to `None`: proximal gradient steps.
        optimizer: A dict: the `"name"` of a Keras optimizer, and its
            arguments but the learning rate, for the dense and the sparse
            training. Defaults to
            `{"name": "sgd", "momentum": 0.9, "nesterov": True}`.
        learning_rate: A number > 0: the learning rate at the start of these
            trainings. It falls to zero along a cosine. Defaults to `0.05`.
        batch_size: An integer >= 1: the images per training step. Defaults to
            `128`.
        dtype_policy: `"mixed_float16"` or `"mixed_bfloat16"`: what all
            trainings compute in. Weights, saved networks and measurements are
            float32. Defaults to `None`: float32.
        epochs: An integer >= 1: the epochs of the dense training, and again
            of the sparse training. Defaults to `10`.
        patience: An integer >= 1: a training ends after so many epochs
            without a better validation loss, and its best weights count; not
            that of `sparse`, which keeps its best epoch itself. Defaults to
            `None`: all epochs are trained, and the last weights count.
        criterion: A string: what chooses the channels to remove, one of the
            criteria of `pruning.plan`. Defaults to `None`: exact zeros
            without a budget, `"output_change"` with one.
        budget: A dict: what may remain, such as
            `{"params": 0.1, "macs": "35%"}`, as in `pruning.plan`; or a list
            of such dicts, each of which leads to a small network of its own.
            Defaults to `None`: only exact zeros are removed.
        round_to: An integer >= 1: the channels of each layer are rounded up
            to a multiple of it. Defaults to `None`: 1 without a budget, 8
            with one.
        plan: A dict of further arguments of `pruning.plan`, all but `data`,
            such as `{"exclude": ["head*"]}`. Defaults to `None`.
        repair: A boolean: whether what is left is refitted to the dense
            network, or after sparse training to the sparse one, as `repair`
            does it, before it is trained. Defaults to `None`: with a budget.
        fine_tune_epochs: An integer >= 0: the epochs in which each small
            network is trained without a penalty. Defaults to `5`.
        total_epochs: An integer >= 1: the epochs of all trainings together,
            to which `epochs` and `fine_tune_epochs` are scaled. Defaults to
            `None`: they count as they are.
        fine_tune: A dict of arguments of `fine_tune`: `optimizer`,
            `learning_rate`, `teacher_weight`, `temperature`. Defaults to
            `None`.
        teacher: A boolean: whether the dense network is the teacher of the
            small one in the fine-tuning. Defaults to `True`.
        keep_zeros: A boolean: whether single zero weights stay zero in the
            fine-tuning. Defaults to `False`.
        long_baseline: A boolean: whether to train another dense network for
            `epochs + fine_tune_epochs`, to compare with. Defaults to `False`.
        within: A number >= 0: of several small networks the one with the
            fewest multiply-adds counts that is at most so much worse than the
            dense network on validation images: percentage points of an
            accuracy or another share, percent of an error. Defaults to `1.0`.
        precisions: A list of strings, precisions of `tflite_export.convert`
            with `"float32"` among them: those of the LiteRT files of the
            dense and the small networks. Defaults to
            `("float32", "float16", "dynamic", "int8")`.
        qat_epochs: An integer >= 0: the epochs of training under quantization
            before an int8 file is written (`tflite_export.qat`), without
            `augment` and without the layers of the model that augment.
            Defaults to `0`: it is quantized after training.
        representative_samples: An integer >= 1: how many training images set
            the ranges of quantized files. Defaults to `300`.
        latency_runs: An integer >= 1: how often every LiteRT file is timed.
            Defaults to `1000`.
        seed: An integer from 0 to 2^32 - 1: the seed of everything random.
            Defaults to `0`.

    Example:
    >>> recipe = knc.Recipe(model="mine.keras", budget={"macs": 0.5})
    >>> knc.Recipe.from_dict(json.loads(recipe.to_json())) == recipe
    True
    """

    name: str | None = None
    regularizers: dict | None = None
    dataset: str = "fashion_mnist"
    model: str = "lenet5"
    size: int | None = None
    fit: str = "stretch"
    antialias: bool = True
    augment: dict | None = None
    class_weights: str | dict | None = None
    offline: dict | None = None
    train: bool | None = None
    sparse: str | None = None
    target: float | None = None
    solver: dict | None = None
    optimizer: dict = dataclasses.field(
        default_factory=lambda: {
            "name": "sgd",
            "momentum": 0.9,
            "nesterov": True,
        }
    )
    learning_rate: float = 0.05
    batch_size: int = 128
    dtype_policy: str | None = None
    epochs: int = 10
    patience: int | None = None
    criterion: str | None = None
    budget: dict | list | None = None
    round_to: int | None = None
    plan: dict | None = None
    repair: bool | None = None
    fine_tune_epochs: int = 5
    total_epochs: int | None = None
    fine_tune: dict | None = None
    teacher: bool = True
    keep_zeros: bool = False
    long_baseline: bool = False
    within: float = 1.0
    precisions: tuple = ("float32", "float16", "dynamic", "int8")
    qat_epochs: int = 0
    representative_samples: int = 300
    latency_runs: int = 1000
    seed: int = 0

    def __post_init__(self):
        self._set(keys.typed(self))
        if self.name is None:
            parts = pathlib.PurePath(self.model), pathlib.PurePath(self.dataset)
            self._set({"name": "_".join(part.stem for part in parts)})
        keys.check(self)
        self._set({"precisions": tuple(self.precisions)})
        self._check_together()
        self._scale_epochs()
        for point in self.points:
            options.check(self.criterion, point.budget, self.round_to)
        if self.offline is not None:
            self.when_offline()
        # Wrong names show now, not after an hour of training.
        self.rules()
        self.make_solver()
        self.make_optimizer(1)
        if not self.own_model:
            models.get(self.model)

    def _set(self, values):
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def _check_together(self):
        if self.sparse and self.regularizers is not None:
            raise ValueError(
                "Recipe key `sparse` stands in place of `regularizers`: give "
                f"one of them. Received: sparse={self.sparse!r}"
            )
        keys.require(
            "size",
            self.size,
            self.size is None or not self.own_model,
            f"null for {self.model!r}, which has a size of its own",
        )
        keys.require(
            "qat_epochs",
            self.qat_epochs,
            not self.qat_epochs or "int8" in self.precisions,
            "0 unless 'int8' is among the `precisions`",
        )

    def _scale_epochs(self):
        """Makes the epochs of all trainings together what was asked for."""
        if self.total_epochs is None:
            return
        often = self.trains + self.is_sparse, len(self.points)
        each = self.epochs, self.fine_tune_epochs
        whole = sum(n * epochs for n, epochs in zip(often, each, strict=True))
        scale = self.total_epochs / max(whole, 1)
        scaled = (max(int(n * scale), 1) if n else 0 for n in each)
        names = "epochs", "fine_tune_epochs"
        self._set(dict(zip(names, scaled, strict=True)))
        self._set({"total_epochs": None})

    @property
    def own_model(self):
        """Whether the model is that of a file."""
        return self.model.endswith(".keras")

    @property
    def points(self):
        """The small networks of the run, a list of `points.Point`."""
        return points.of(self.budget)

    @property
    def trains(self):
        """Whether the dense network is trained."""
        return not self.own_model if self.train is None else self.train

    @property
    def is_sparse(self):
        """Whether a network is trained with a penalty."""
        return bool(self.regularizers or self.sparse)

    @property
    def repairs(self):
        """Whether small networks are refitted."""
        return self.budget is not None if self.repair is None else self.repair

    def rules(self):
        """The regularizers by layer name pattern, for `attach`."""
        if self.sparse:
            return {"*": regularizers.get(self.sparse)}
        return {
            pattern: settings and regularizers.get(settings)
            for pattern, settings in (self.regularizers or {}).items()
        }

    def make_solver(self):
        """A new solver, or None for the usual one."""
        if self.solver is None:
            return None
        return solvers.get(self.solver)

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
        known = [field.name for field in dataclasses.fields(cls)]
        keys.check_names(settings, known)
        return cls(**settings)

    @staticmethod
    def shipped():
        """The names of the recipes that ship, as a list."""
        return list(reading.shipped())

    @classmethod
    def load(cls, source):
        """Reads a recipe.

        Args:
            source: A string or path: a JSON file, or the name of a recipe
                that ships, one of `Recipe.shipped()`.
        """
        return cls.from_dict(reading.settings(source, models_too=False))
