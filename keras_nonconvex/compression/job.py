"""What the steps of a run share: settings, data, models, measurements."""

import keras

from keras_nonconvex import counts
from keras_nonconvex import datasets
from keras_nonconvex import files
from keras_nonconvex import models
from keras_nonconvex import terminal
from keras_nonconvex.compression import task
from keras_nonconvex.compression.records import Records
from keras_nonconvex.training.backup import epochs_done

# The images of a step of inference.
BATCH = 500


class Job:
    """One run in its folder.

    Args:
        recipe: The `Recipe`.
        paths: The `run_folder.Paths` of the run.
        console: A `rich.console.Console`.
        strategy: A `tf.distribute` strategy, or None.
        callbacks: Keras callbacks for all trainings.
        model: The dense network, where the recipe does not say it.
        data: What `datasets.splits` takes, where the recipe does not say it.

    Attributes:
        recipe: The recipe; with its `offline` settings in place where the
            data set cannot be had.
        data: The `datasets.Data`.
        task: The `Task` of all of its networks.
        records: The `Records`.
    """

    def __init__(
        self,
        recipe,
        paths,
        console,
        strategy=None,
        callbacks=(),
        model=None,
        data=None,
    ):
        self.recipe = recipe
        self._given_model = model
        self._given_data = data
        self.paths = paths
        self.console = console
        self.strategy = strategy
        self.callbacks = list(callbacks)
        self.records = Records(paths.steps)
        self.data = self._load_data()
        if not self.data.kind:
            raise ValueError(
                "The data of a recipe must have labels: pictures belong into a "
                "folder for each class, or beside a CSV file of targets. "
                f"Received: dataset={self.data.name!r} without them"
            )
        self.data.train.check_augment(recipe.augment)
        self.data.train.check_class_weights(recipe.class_weights)
        self.task = task.of(self.new_model(), self.data)
        self._check_settings()

    # ---- data

    def _load_data(self):
        with terminal.bar(self.console, f"Data: {self.recipe.dataset}"):
            try:
                return self._read_data()
            except datasets.NotAvailable as error:
                if self.recipe.offline is None:
                    raise
                self.recipe = self.recipe.when_offline()
                terminal.say(
                    self.console,
                    f"{error} Using '{self.recipe.dataset}' instead.",
                    "yellow",
                )
                return self._read_data()

    def _read_data(self):
        data, model = self._given_data, self._own_model()
        size = self.recipe.size
        return datasets.splits(
            self.recipe.dataset if data is None else data,
            model=model,
            shape=(size, size, 3) if size and model is None else None,
            fit=self.recipe.fit,
            antialias=self.recipe.antialias,
            seed=self.recipe.seed,
            cache=self.paths.pictures,
            lists=self.paths.splits if self.paths.splits.exists() else None,
        )

    def training_data(self, step):
        """The training images of a step, from the epoch where it goes on.

        What is left for a last, smaller batch waits for another epoch:
        oneDNN's gradients of small convolutions have crashed on batches of
        odd sizes (TensorFlow 2.21).

        Args:
            step: The name of the step.
        """
        recipe = self.recipe
        images = self.data.train.dataset(
            recipe.batch_size,
            shuffle=True,
            seed=recipe.seed,
            augment=recipe.augment,
            class_weights=recipe.class_weights,
            epoch=epochs_done(self.records.backup(step)),
        )
        return images.take(self.steps)

    @property
    def steps(self):
        """The steps of an epoch of training."""
        return max(len(self.data.train) // self.recipe.batch_size, 1)

    def validation_data(self):
        """The validation images, for `fit`."""
        return self.data.validation.dataset(BATCH)

    # ---- models

    def _own_model(self):
        """The user's model, or None where the recipe names a network."""
        if self._given_model is not None:
            if not self.paths.given.exists():
                files.save_model(self._given_model, self.paths.given)
            return files.load_model(self.paths.given)
        if self.recipe.own_model:
            return files.load_model(self.recipe.model)
        return None

    def new_model(self):
        """The dense network before any training of this run."""
        # Every step starts from the same weights, resumed or not.
        keras.utils.set_random_seed(self.recipe.seed)
        model = self._own_model()
        if model is not None:
            return model
        shape = self.data.train.shape
        try:
            return models.get(self.recipe.model)(
                input_shape=shape, classes=len(self.data.classes)
            )
        except ValueError as error:
            raise ValueError(
                "The images must be large enough for the network, which "
                "`size` says. Received: images of shape "
                f"{shape} for {self.recipe.model!r}"
            ) from error

    def load(self, network):
        """The network of a step that is done.

        Args:
            network: `"dense"`, `"sparse"` or the name of a point.
        """
        return files.load_model(self.paths.model(network))

    def save(self, model, network):
        """Saves a network, which then knows its loss, too.

        Args:
            model: The Keras model.
            network: As in `load`.
        """
        if getattr(model, "loss", None) is None:
            model.compile(loss=self.task.loss())
        files.save_model(model, self.paths.model(network))

    def _check_settings(self):
        devices = getattr(self.strategy, "num_replicas_in_sync", 1)
        batch = min(self.recipe.batch_size, len(self.data.train))
        if batch < devices:
            raise ValueError(
                "Argument `strategy` must have at most as many devices as a "
                "training batch has samples. "
                f"Received: {devices} devices for batches of {batch}"
            )
        if self.recipe.qat_epochs and (
            self.task.maps or not self.task.output.decides
        ):
            raise ValueError(
                "Recipe key `qat_epochs` must be 0 unless each image has "
                "classes or answers of yes or no. Received: "
                f"qat_epochs={self.recipe.qat_epochs} for "
                f"{'maps of ' if self.task.maps else ''}"
                f"{self.task.output.kind}"
            )

    # ---- measurements

    def measure(self, model):
        """The measure on test and validation images, parameters and MACs."""
        name = self.task.measure.name
        return {
            name: self._score(model, self.data.test),
            f"validation_{name}": self._score(model, self.data.validation),
            **self.size(model),
        }

    def size(self, model):
        """Parameters and MACs, a dict."""
        return {
            "params": model.count_params(),
            "macs": counts.summary(model).macs,
        }

    def predict(self, model, split):
        """The outputs for all images of a split, in order."""
        return model.predict(split.dataset(BATCH), verbose=0)

    def _score(self, model, split):
        return self.task.score(self.predict(model, split), split.labels)
