"""`TargetSparsity`: the strength that leads to a fraction of zeros."""

import warnings

import keras

from keras_nonconvex import checks
from keras_nonconvex import sparsity
from keras_nonconvex.callbacks.state import finished
from keras_nonconvex.callbacks.state import set_strength
from keras_nonconvex.callbacks.state import strength_of
from keras_nonconvex.callbacks.state import synced


class TargetSparsity(keras.callbacks.Callback):
    """Leads to a wanted fraction of zeros, by the strength or by the end.

    Three ways, by `mode`:

    - `"adapt"`: after each check all strengths are multiplied by
      speed^((target - fraction) / target), with the exponent clipped to
      [-1, 1]: by `speed` far from the target, and gently near it.
    - `"grow"`: after each check all strengths are multiplied by `speed`, until
      the fraction is reached. Training ends there.
    - `"stop"`: the strengths stay; training ends when the fraction is reached.

    The logs show the factor on the strengths as `strength`; a model whose
    strengths change must be a `ProximalModel`. A warning at the end of
    training says if the target was missed.

    Where many groups become zero within a few steps, `every` checks within
    the epoch. A check of "macs" follows the model's graph, which takes longer
    than those of the others.

    Args:
        target: A number in (0, 1], the wanted fraction of zeros.
        of: What the fraction counts: `"filters"`; `"weights"`; `"groups"`,
            those of the group regularizers, the classes of coupled groups and
            the penalised scales of batch normalization; or `"macs"`, the
            multiply-adds that removing the zeros saves. Defaults to
            `"filters"`.
        mode: `"adapt"`, `"grow"` or `"stop"`. Defaults to `"adapt"`.
        speed: A number above 1, the largest factor by which the strength
            changes after a check. Defaults to `2.0`.
        tolerance: A number in (0, 1): with `"adapt"` the target counts as
            missed if the fraction is further from it than this. Defaults to
            `0.05`.
        every: A whole number >= 1, the batches between two checks within an
            epoch; None for checks at the end of each epoch only. Defaults to
            `None`.

    Example:
    ```python
    target = knc.callbacks.TargetSparsity(0.6, of="filters")
    model.fit(x, y, epochs=30, callbacks=[target])
    ```
    """

    def __init__(
        self,
        target,
        of="filters",
        mode="adapt",
        speed=2.0,
        tolerance=0.05,
        every=None,
    ):
        super().__init__()
        target = checks.number(
            "target", target, "a number in (0, 1]", lambda v: 0.0 < v <= 1.0
        )
        tolerance = checks.number(
            "tolerance",
            tolerance,
            "a number in (0, 1)",
            lambda v: 0.0 < v < 1.0,
        )
        speed = checks.number(
            "speed", speed, "a number above 1", lambda v: v > 1.0
        )
        checks.choice("of", of, ("filters", "weights", "groups", "macs"))
        checks.choice("mode", mode, ("adapt", "grow", "stop"))
        if every is not None:
            every = checks.whole("every", every, 1, " of batches")
        self.target = target
        self.of = of
        self.mode = mode
        self.speed = speed
        self.tolerance = tolerance
        self.every = every
        self.fraction = 0.0

    def on_train_begin(self, logs=None):
        if self.mode != "stop":
            strength_of(self.model, "TargetSparsity")

    def on_epoch_begin(self, epoch, logs=None):
        self._checked = 0

    def on_train_batch_end(self, batch, logs=None):
        if self.every and batch + 1 - self._checked >= self.every:
            self._checked = batch + 1
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        if self.mode != "stop":
            logs["strength"] = strength_of(self.model, "TargetSparsity")
        self._check()

    def _check(self):
        with finished(synced(self.model)):
            fraction = sparsity.fraction(self.model, self.of)
        if fraction is None:
            raise ValueError(
                f"The model has no {self.of} that TargetSparsity could count. "
                f"Received: of={self.of!r}"
            )
        self.fraction = fraction
        missing = (self.target - fraction) / self.target
        if self.mode == "adapt":
            self._multiply(self.speed ** min(max(missing, -1.0), 1.0))
        elif missing <= 0.0:
            self.model.stop_training = True
        elif self.mode == "grow":
            self._multiply(self.speed)

    def _multiply(self, factor):
        strength = strength_of(self.model, "TargetSparsity")
        set_strength(self.model, strength * factor)

    def on_train_end(self, logs=None):
        missed = self.target - self.fraction
        if self.mode == "adapt":
            far = abs(missed) > self.tolerance
        else:
            far = missed > 0.0
        if far:
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
