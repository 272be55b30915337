"""Callbacks for sparse training.

They go into `fit(callbacks=[...])`. `StrengthSchedule`, and `TargetSparsity`
where it adapts the strength, need a `ProximalModel`; the others serve any
Keras model.
"""

import contextlib
import math
import warnings

import keras
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import regularizers
from keras_nonconvex import sparsity


class SparsityMonitor(keras.callbacks.Callback):
    """Adds counts of exact zeros to the logs of each epoch.

    The logs get `zero_weights` and `zero_filters`, counted in dense and
    convolution kernels, where a filter that the batch normalization right
    after scales by zero is zero, too; `zero_groups`, counted over all group
    regularizers and penalised scales; and, for models that can be pruned,
    `macs_left`, the fraction of multiply-adds that remains when zero filters
    are removed.
    Where a solver sets zeros at the end of `fit` only, the counts are those
    that it would leave now.

    Put it before callbacks that write logs, such as `CSVLogger` and
    `TensorBoard`.

    Args:
        per_layer: True or False, whether the logs also get the fraction of
            zero weights and of zero filters of every layer, as
            `zero_weights/NAME` and `zero_filters/NAME`. Defaults to `False`.

    Example:
    ```python
    monitor = knc.callbacks.SparsityMonitor()
    log = keras.callbacks.CSVLogger("training.csv")
    model.fit(x, y, epochs=20, callbacks=[monitor, log])
    ```
    """

    def __init__(self, per_layer=False):
        super().__init__()
        self.per_layer = per_layer

    def on_epoch_end(self, epoch, logs=None):
        with _finished(self.model):
            logs.update(sparsity.sparsity(self.model, self.per_layer))


class StrengthSchedule(keras.callbacks.Callback):
    """Multiplies all strengths by a factor that changes through training.

    factor = start + (stop - start) curve(p), where the progress p goes from 0
    at the epoch `begin` to 1 at the epoch `end`. The factor changes from step
    to step. The logged loss uses the current strength, and the logs of an
    epoch show the factor as `strength`. The model must be a `ProximalModel`.

    Args:
        curve: `"linear"`, p; `"cosine"`, (1 - cos(pi p)) / 2;
            `"polynomial"`, 1 - (1 - p)^power; or a function that takes p in
            [0, 1] and returns a number. Defaults to `"cosine"`.
        start: A number >= 0, the factor before `begin`. Defaults to `0.0`.
        stop: A number >= 0, the factor from `end` on. Defaults to `1.0`.
        begin: A number >= 0, the epoch at which the factor starts to change,
            not necessarily whole. Defaults to `0.0`.
        end: A number above `begin`, the epoch from which on the factor is
            `stop`, not necessarily whole. None means the middle of training.
            Defaults to `None`.
        power: A number above 0, the exponent of `"polynomial"`. Defaults to
            `3.0`, the value of Zhu & Gupta.

    Example:
    ```python
    schedule = knc.callbacks.StrengthSchedule("cosine", begin=2, end=15)
    model.fit(x, y, epochs=20, callbacks=[schedule])
    ```

    Reference: Zhu & Gupta, To Prune, or Not to Prune, 2017.
    """

    CURVES = {
        "linear": lambda p, power: p,
        "cosine": lambda p, power: (1.0 - math.cos(math.pi * p)) / 2.0,
        "polynomial": lambda p, power: 1.0 - (1.0 - p) ** power,
    }

    def __init__(
        self,
        curve="cosine",
        start=0.0,
        stop=1.0,
        begin=0.0,
        end=None,
        power=3.0,
    ):
        super().__init__()
        if not callable(curve):
            checks.choice("curve", curve, self.CURVES)
        factors = "a number >= 0", lambda v: v >= 0.0
        start = checks.number("start", start, *factors)
        stop = checks.number("stop", stop, *factors)
        begin = checks.number("begin", begin, *factors)
        if end is not None:
            end = checks.number(
                "end", end, "an epoch after `begin`", lambda v: v > begin
            )
        power = checks.number(
            "power", power, "a number above 0", lambda v: v > 0.0
        )
        self.curve = curve
        self.start = start
        self.stop = stop
        self.begin = begin
        self.end = end
        self.power = power

    def factor(self, epoch, epochs):
        """The factor at a moment of training.

        Args:
            epoch: A number >= 0, counted from 0, not necessarily whole.
            epochs: The number of epochs of the training.
        """
        end = epochs / 2.0 if self.end is None else self.end
        length = max(end - self.begin, 1e-9)
        progress = min(max((epoch - self.begin) / length, 0.0), 1.0)
        curve = self.curve
        if not callable(curve):
            known = self.CURVES[curve]
            curve = lambda p: known(p, self.power)  # noqa: E731
        return self.start + (self.stop - self.start) * curve(progress)

    def on_train_begin(self, logs=None):
        _strength(self.model, "StrengthSchedule")

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._last = None
        self._set(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        # If the number of batches is unknown, it changes by whole epochs.
        if self.params.get("steps"):
            self._set(self._epoch + batch / self.params["steps"])

    def on_epoch_end(self, epoch, logs=None):
        logs["strength"] = _strength(self.model, "StrengthSchedule")

    def _set(self, epoch):
        factor = self.factor(epoch, self.params["epochs"])
        if factor != self._last:
            _set_strength(self.model, factor)
            self._last = factor


class TargetSparsity(keras.callbacks.Callback):
    """Stops at a wanted fraction of zeros, or adapts the strength to reach it.

    To adapt, it multiplies all strengths after each epoch by
    speed^((target - fraction) / target), with the exponent clipped to
    [-1, 1]: by `speed` far from the target, and gently near it. The logs show
    the factor as `strength`; the model must be a `ProximalModel`. A warning
    at the end of training says if the target was missed.

    Args:
        target: A number in (0, 1), the wanted fraction of zeros.
        of: What the fraction counts: `"filters"`; `"weights"`; `"groups"`,
            those of the group regularizers and the penalised scales of batch
            normalization; or `"macs"`, the multiply-adds that removing the
            zeros saves. Defaults to `"filters"`.
        mode: `"adapt"` to change the strength after each epoch, or `"stop"`
            to end training when the fraction is reached. Defaults to
            `"adapt"`.
        speed: A number above 1, the largest factor by which the strength
            changes after an epoch. Defaults to `2.0`.
        tolerance: A number in (0, 1): the target counts as missed if the
            fraction is further from it than this. Defaults to `0.05`.

    Example:
    ```python
    target = knc.callbacks.TargetSparsity(0.6, of="filters")
    model.fit(x, y, epochs=30, callbacks=[target])
    ```
    """

    def __init__(
        self, target, of="filters", mode="adapt", speed=2.0, tolerance=0.05
    ):
        super().__init__()
        fraction = "a number in (0, 1)", lambda v: 0.0 < v < 1.0
        target = checks.number("target", target, *fraction)
        tolerance = checks.number("tolerance", tolerance, *fraction)
        speed = checks.number(
            "speed", speed, "a number above 1", lambda v: v > 1.0
        )
        checks.choice("of", of, ("filters", "weights", "groups", "macs"))
        checks.choice("mode", mode, ("adapt", "stop"))
        self.target = target
        self.of = of
        self.mode = mode
        self.speed = speed
        self.tolerance = tolerance
        self.fraction = 0.0

    def on_train_begin(self, logs=None):
        if self.mode == "adapt":
            _strength(self.model, "TargetSparsity")

    def on_epoch_end(self, epoch, logs=None):
        with _finished(self.model):
            fractions = sparsity.fractions(self.model)
        if self.of not in fractions:
            raise ValueError(
                f"The model has no {self.of} that TargetSparsity could count. "
                f"Received: of={self.of!r}"
            )
        self.fraction = fractions[self.of]
        if self.mode == "stop":
            if self.fraction >= self.target:
                self.model.stop_training = True
            return
        strength = _strength(self.model, "TargetSparsity")
        logs["strength"] = strength
        pull = (self.target - self.fraction) / self.target
        factor = self.speed ** min(max(pull, -1.0), 1.0)
        _set_strength(self.model, strength * factor)

    def on_train_end(self, logs=None):
        missed = self.target - self.fraction
        size = abs(missed) if self.mode == "adapt" else missed
        if size > self.tolerance:
            warnings.warn(
                f"TargetSparsity: {self.fraction:.1%} of the {self.of} are "
                f"gone at the end, and {self.target:.1%} were wanted: "
                + (
                    "train for more epochs or start from a larger strength."
                    if missed > 0
                    else "start from a smaller strength, or lower `speed`."
                ),
                stacklevel=2,
            )


class Freeze(keras.callbacks.Callback):
    """Keeps weights that are zero when training begins exactly zero.

    It acts on all trainable weights: kernels of all kinds, scales of
    normalization, slopes of PReLU, weights of your own layers. Biases and
    shifts (names with "bias", "beta") often start at zero, and so they stay
    free unless they have a penalty. It serves any Keras model.

    Args:
        part: A model inside of the one that is trained, to keep the zeros of
            this part only; None for the whole model. Defaults to `None`.

    Example:
    >>> model.fit(x, y, epochs=5, callbacks=[knc.callbacks.Freeze()])
    """

    def __init__(self, part=None):
        super().__init__()
        self.part = part

    def on_train_begin(self, logs=None):
        self._before = []
        for weight in (self.part or self.model).trainable_variables:
            if _starts_at_zero(weight):
                continue
            inner = weight.constraint
            # An interrupted training leaves its mask.
            if isinstance(inner, _Mask):
                inner = inner.inner
            self._before.append((weight, inner))
            weight.constraint = _Mask(weight, inner)
        self._retrace()

    def on_train_end(self, logs=None):
        for weight, constraint in self._before:
            weight.constraint = constraint
        self._retrace()

    def _retrace(self):
        # A step that is compiled already does not know the constraint.
        self.model.make_train_function(force=True)


def _starts_at_zero(weight):
    """Whether zeros of a weight mean that it has not been trained yet."""
    if isinstance(weight.regularizer, regularizers.Regularizer):
        return False
    return any(word in weight.name for word in ("bias", "beta", "lora_"))


class _Mask(keras.constraints.Constraint):
    def __init__(self, weight, inner):
        self.mask = keras.ops.convert_to_numpy(weight) != 0
        self.inner = inner

    def __call__(self, w):
        w = w if self.inner is None else self.inner(w)
        return w * keras.ops.cast(self.mask, w.dtype)


def _finished(model):
    """The scope in which the weights are those that the solver leaves."""
    solver = getattr(model, "solver", None)
    if solver is None:
        return contextlib.nullcontext()
    return solver.finished(model)


def _strength(model, callback):
    """The number that multiplies the strengths of a model."""
    state = getattr(model, "solver_state", None)
    if state is None:
        raise ValueError(
            f"{callback} needs a knc.ProximalModel; knc.attach makes one. "
            f"Received: model={model.name!r} ({type(model).__name__})"
        )
    return ops.convert_to_numpy(state.strength).item()


def _set_strength(model, value):
    if hasattr(model, "jax_state_sync"):
        # On JAX an epoch keeps the values outside of the variables.
        model.jax_state_sync()
    model.solver_state.strength.assign(value)
