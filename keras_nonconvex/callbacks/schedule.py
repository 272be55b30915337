"""Schedules: a number of the solver that changes through training."""

import math

import keras

from keras_nonconvex import checks
from keras_nonconvex.callbacks.state import set_spare
from keras_nonconvex.callbacks.state import set_strength
from keras_nonconvex.callbacks.state import spare_of
from keras_nonconvex.callbacks.state import strength_of


class Schedule(keras.callbacks.Callback):
    """A number that changes from step to step: the base of schedules.

    start + (stop - start) curve(p), where the progress p goes from 0 at the
    epoch `begin` to 1 at the epoch `end`. A subclass states `read` and `write`.

    Args:
        curve: As for `StrengthSchedule`.
        start: A number >= 0, the value before `begin`.
        stop: A number >= 0, the value from `end` on.
        begin: As for `StrengthSchedule`.
        end: As for `StrengthSchedule`.
        power: As for `StrengthSchedule`.
    """

    CURVES = {
        "linear": lambda p, power: p,
        "cosine": lambda p, power: (1.0 - math.cos(math.pi * p)) / 2.0,
        "polynomial": lambda p, power: 1.0 - (1.0 - p) ** power,
    }
    # What the logs call the number.
    logged = None

    def __init__(self, curve, start, stop, begin, end, power):
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
        """The number at a moment of training.

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

    def read(self):
        """The number that the model has now; an error if it has none."""
        raise NotImplementedError

    def write(self, value):
        """Sets it.

        Args:
            value: A number >= 0.
        """
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        self.read()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._last = None
        self._set(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        # If the number of batches is unknown, it changes by whole epochs.
        if self.params.get("steps"):
            self._set(self._epoch + batch / self.params["steps"])

    def on_epoch_end(self, epoch, logs=None):
        logs[self.logged] = self.read()

    def _set(self, epoch):
        value = self.factor(epoch, self.params["epochs"])
        if value != self._last:
            self.write(value)
            self._last = value


class StrengthSchedule(Schedule):
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

    logged = "strength"

    def __init__(
        self,
        curve="cosine",
        start=0.0,
        stop=1.0,
        begin=0.0,
        end=None,
        power=3.0,
    ):
        super().__init__(curve, start, stop, begin, end, power)

    def read(self):
        return strength_of(self.model, "StrengthSchedule")

    def write(self, value):
        set_strength(self.model, value)


class CountSchedule(Schedule):
    """Lets the k of envelopes fall from all groups to k through training.

    At a moment the envelopes have k + spare (m - k) groups in place of k, where
    m is how many groups there are and spare = 1 - curve(p); the progress p goes
    from 0 at the epoch `begin` to 1 at the epoch `end`. So a group is only
    pushed out when few enough are left. The logs of an epoch show `spare`. The
    model must be a `ProximalModel` with a `GroupSparseEnvelope` or a
    `CoupledEnvelope`.

    Args:
        curve: `"linear"`, p; `"cosine"`, (1 - cos(pi p)) / 2;
            `"polynomial"`, 1 - (1 - p)^power; or a function that takes p in
            [0, 1] and returns a number. Defaults to `"polynomial"`.
        begin: A number >= 0, the epoch at which k starts to fall, not
            necessarily whole. Defaults to `0.0`.
        end: A number above `begin`, the epoch from which on it is k, not
            necessarily whole. None means the middle of training. Defaults to
            `None`.
        power: A number above 0, the exponent of `"polynomial"`. Defaults to
            `3.0`, the value of Zhu & Gupta.

    Example:
    ```python
    schedule = knc.callbacks.CountSchedule(end=15)
    model.fit(x, y, epochs=20, callbacks=[schedule])
    ```

    Reference: Zhu & Gupta, To Prune, or Not to Prune, 2017.
    """

    logged = "spare"

    def __init__(self, curve="polynomial", begin=0.0, end=None, power=3.0):
        super().__init__(curve, 1.0, 0.0, begin, end, power)

    def read(self):
        return spare_of(self.model)

    def write(self, value):
        set_spare(self.model, value)
