"""What a run is judged by: the loss, the measure, and how both are told.

One class per image is one case of it; answers of yes or no, values, and maps
of either are others. Every stage and the report ask here.
"""

import copy
import dataclasses

import keras
import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex.compression.measure import Measure

# Samples whose outputs a metric gets together.
_BLOCK = 500


@dataclasses.dataclass(frozen=True)
class Task:
    """What the networks of a run are trained for and judged by.

    Args:
        output: The `outputs.Output` of all of them.
        targets: An array (1, ...): the targets of one sample, for their form.
        labels: A tuple of strings: what each unit is called, if that is
            known.
        measure: The `Measure`.
        metric: The Keras metric that computes it. None: the accuracy.
    """

    output: outputs.Output
    targets: np.ndarray
    labels: tuple
    measure: Measure
    metric: keras.metrics.Metric | None = None

    @property
    def maps(self):
        """Whether there is an answer at each of several positions."""
        return len(self.output.shape) > 2

    @property
    def classifies(self):
        """Whether each image has one class."""
        if self.maps or not self.output.decides:
            return False
        several = self.output.kind == outputs.YES_NO and len(self.labels) > 1
        return not several

    @property
    def described(self):
        """What metrics.json says of it, a dict."""
        return {
            "outputs": self.output.kind,
            "one_class_per_image": self.classifies,
            "measure": self.measure.name,
            "higher_is_better": self.measure.higher,
        }

    def loss(self):
        """The loss to train by: the model's own, else the usual one."""
        if self.output.loss is not None and self._suits():
            return self.output.loss
        if self.output.kind == outputs.VALUES:
            return "mean_squared_error"
        return self.output.usual_loss(self.targets)

    def _suits(self):
        """Whether the model's own loss takes targets of this form."""
        if self.output.kind != outputs.CLASSES:
            return True
        numbers = self.targets.ndim < len(self.output.shape)
        return outputs.takes_numbers(self.output.loss) == numbers

    def metrics(self):
        """New metrics for `compile`, a list."""
        if self.metric is None:
            return self.output.metrics()
        return [_copy(self.metric)]

    def score(self, found, labels):
        """The measure of outputs.

        Args:
            found: An array (n, ..., units).
            labels: The targets, an array.

        Returns:
            A number.
        """
        if self.metric is None:
            return self.output.accuracy(found, labels)
        if labels.ndim + 1 == found.ndim and found.shape[-1] == 1:
            labels = labels[..., None]
        metric = _copy(self.metric)
        for start in range(0, len(found), _BLOCK):
            part = slice(start, start + _BLOCK)
            metric.update_state(labels[part], found[part])
        return float(np.mean(metric.result()))

    def said(self, measured):
        """The measure of a network in words.

        Args:
            measured: What `Job.measure` returns.
        """
        return f"{self.measure.words} {measured[self.measure.name]:.4f}"


def of(model, data):
    """What a model is to do with some data.

    Args:
        model: The dense network. Its own loss and metrics count, where it has
            them.
        data: The `datasets.Data`. Where neither the loss nor the last layer
            of the model tells what it gives, the targets do.

    Returns:
        The `Task`.

    Raises:
        ValueError: The model does not give what the data has.
    """
    found = outputs.of(model)
    if len(found) != 1 or found[0].shape is None:
        raise _refused(found, data)
    output = found[0]
    _, targets = data.train.arrays(1)
    if (output.kind is None or not output.told) and not (
        # A unit may be a value as well as a logit.
        data.kind == outputs.CLASSES and output.shape[-1] == 1
    ):
        output = dataclasses.replace(output, kind=data.kind)
    if not _fits(output, targets, data):
        raise _refused(found, data)
    output.check_loss()
    units = output.shape[-1]
    # One unit for two classes gives the probability of the second one.
    labels = data.classes[-units:] if len(data.classes) >= units else ()
    maps = len(output.shape) > 2
    if maps and len(data.classes) != units:
        labels = ()
    return Task(
        output, targets, labels, *_judged(model, output, targets, labels, maps)
    )


def _fits(output, targets, data):
    """Whether targets have the form of an output."""
    shape, form = output.shape[1:], targets.shape[1:]
    full, short = _like(form, shape), _like(form, shape[:-1])
    if output.kind == outputs.VALUES:
        return data.kind == outputs.VALUES and (
            full or (short and shape[-1] == 1)
        )
    if data.kind not in (outputs.CLASSES, outputs.YES_NO):
        return False
    if output.kind == outputs.YES_NO:
        if full and data.kind == outputs.YES_NO:
            return True
        two = shape[-1] == 1 and _classes(data) == 2
        return two and (full or short)
    if output.kind != outputs.CLASSES or data.kind != outputs.CLASSES:
        return False
    if len(shape) == 1:
        return len(data.classes) == shape[-1]
    return full or (short and _classes(data) <= shape[-1])


def _like(form, shape):
    return len(form) == len(shape) and all(
        b in (None, a) for a, b in zip(form, shape, strict=True)
    )


def _classes(data):
    """How many classes there are; maps may not name them."""
    return len(data.classes) or int(data.train.labels.max()) + 1


def _refused(found, data):
    count = len(data.classes)
    wanted = {
        outputs.CLASSES: f"probabilities or logits of {count} classes"
        + ", or of one unit for two" * (count == 2),
        outputs.YES_NO: "probabilities or logits of yes or no for each of "
        f"{count} columns of targets",
        outputs.VALUES: "values in the form of the targets",
    }[data.kind]
    form = data.train.arrays(1)[1].shape[1:]
    if len(form) > 1:
        wanted = f"a map of {data.kind} for targets of shape {form}"
    given = ", ".join(
        f"{output.kind} of shape {(output.shape or ())[1:]}" for output in found
    )
    return ValueError(
        f"{_apart(found, data)}The model must give {wanted}; compile it with "
        f"its loss where its last layer does not tell. Received: {given} in a "
        f"model for dataset={data.name!r}"
    )


def _apart(found, data):
    """A sentence on classes that are not those of the model, or nothing."""
    if data.kind != outputs.CLASSES or not data.classes or len(found) != 1:
        return ""
    units = (found[0].shape or ())[1:]
    if len(units) != 1:
        return ""
    names = ", ".join(data.classes[:3])
    more = ", ..." * (len(data.classes) > 3)
    has = f"{units[0]} output{'s' * (units[0] != 1)}"
    if found[0].kind == outputs.VALUES:
        has += " of values"
    return (
        f"The model has {has} and the data {len(data.classes)} classes "
        f"({names}{more}). "
    )


def _judged(model, output, targets, labels, maps):
    """(measure, metric): by the model's own metric, else by the output."""
    several = output.kind == outputs.YES_NO and len(labels) > 1
    if not maps and output.decides and not several:
        return Measure(), None
    for own in _own_metrics(model):
        if own in ("accuracy", "acc") and output.decides:
            return Measure(), None
        metric = _metric(own)
        # Keras knows of its own metrics which way is better.
        direction = getattr(metric, "_direction", None)
        if direction in ("up", "down"):
            return Measure(metric.name, direction == "up"), metric
    if output.kind == outputs.VALUES:
        metric = _of_loss(output.loss or "mean_squared_error")
        return Measure(metric.name, higher=False), metric
    if maps:
        metric = _overlap(output, targets)
        return Measure(metric.name), metric
    return Measure(), None


def _own_metrics(model):
    """The metrics that a model was compiled with, a flat list."""
    if not getattr(model, "compiled", False):
        return []
    given = model._compile_config.config.get("metrics")
    return [one for one in keras.tree.flatten(given) if one is not None]


def _metric(given):
    """A metric of Keras, or None for anything else."""
    if isinstance(given, keras.metrics.Metric):
        return given
    try:
        found = keras.metrics.get(given)
    except ValueError:
        return None
    return found if isinstance(found, keras.metrics.Metric) else None


def _of_loss(loss):
    """The metric that is the mean of a loss."""
    loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        # Its values of the samples, not their mean in a batch.
        loss = copy.copy(loss)
        loss.reduction = "none"
        return keras.metrics.MeanMetricWrapper(loss, name=loss.name)
    return keras.metrics.MeanMetricWrapper(loss, name=loss.__name__)


def _overlap(output, targets):
    """The mean intersection over union of the classes of maps."""
    name = "mean_iou"
    if output.kind == outputs.YES_NO:
        return keras.metrics.BinaryIoU(
            threshold=0.5 if output.probabilities else 0.0, name=name
        )
    return keras.metrics.MeanIoU(
        output.shape[-1],
        name=name,
        sparse_y_true=targets.ndim < len(output.shape),
        sparse_y_pred=False,
    )


def _copy(metric):
    if type(metric) is keras.metrics.MeanMetricWrapper:
        # Its config loads only what is registered.
        return keras.metrics.MeanMetricWrapper(
            metric._fn, name=metric.name, **metric._fn_kwargs
        )
    return type(metric).from_config(metric.get_config())
