"""`SoftPruning`: filters are zeroed after each epoch and go on training."""

import keras
import numpy as np

from keras_nonconvex import checks
from keras_nonconvex.callbacks.freeze import Mask
from keras_nonconvex.callbacks.state import synced
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.solvers import base
from keras_nonconvex.solvers import step_size

# What makes a channel zero and leaves its filter a gradient: not the scale.
_ROLES = ("filter", "bias", "shift")


class SoftPruning(keras.callbacks.Callback):
    """Sets the filters of the lowest scores to zero after each epoch.

    Of the n channels of a layer, or that tied layers make together, the
    int(rate n) of the lowest scores become zero: their filters, biases,
    shifts and moving means. Scales of normalization stay, so the filters keep
    training, and those that grow again in the next epoch may stay. At the end
    of training the channels are exactly zero, and `plan` removes them.

    Args:
        rate: A number in (0, 1), the fraction of each layer's channels that
            is zero at the end.
        criterion: What ranks the channels, as in `plan`: a registered name or
            a function. Defaults to `"group_norm"`, the l2 norm.
        data: `(x, y)` for criteria that look at samples, as in `plan`.
            Defaults to `None`.
        asymptotic: True or False, whether the rate grows from 0: it is at
            three quarters after an eighth of the epochs and nears its end
            exponentially. Defaults to `False`: it is `rate` from the first
            epoch on.

    Example:
    ```python
    model.fit(x, y, epochs=20, callbacks=[knc.callbacks.SoftPruning(0.3)])
    small = knc.prune(model)
    ```

    References: He, Kang, Dong, Fu, Yang, Soft Filter Pruning for Accelerating
    Deep Convolutional Neural Networks, 2018; He, Dong, Kang, Fu, Yan, Yang,
    Asymptotic Soft Filter Pruning for Deep Convolutional Neural Networks,
    2019.
    """

    def __init__(
        self, rate, criterion="group_norm", data=None, asymptotic=False
    ):
        super().__init__()
        self.rate = checks.number(
            "rate", rate, "a number in (0, 1)", lambda v: 0.0 < v < 1.0
        )
        if not callable(criterion):
            checks.choice("criterion", criterion, criteria.REGISTRY)
        self.criterion = criterion
        self.data = data
        self.asymptotic = bool(asymptotic)

    def rate_after(self, progress):
        """The rate when a part of the training is done.

        Args:
            progress: A number in [0, 1].
        """
        if not self.asymptotic:
            return self.rate
        # Through (0, 0), (1/8, 3/4 rate) and (1, rate).
        return self.rate * (1.0 - 4.0 ** (-8.0 * progress)) / (1.0 - 4.0**-8)

    def on_train_begin(self, logs=None):
        _check_solver(getattr(self.model, "solver", None))
        optimizer = step_size.innermost(self.model.optimizer)
        base.check_rebuilding(optimizer)
        base.check_averaging(optimizer)
        self._trace = Trace(self.model)
        self._blocks = _blocks(self._trace)
        if not any(_count(self.rate, roots) for roots in self._blocks):
            raise ValueError(
                "Argument `rate` must be so large that some layer loses a "
                "channel, and the model must have layers that train and can "
                f"lose one. Received: rate={self.rate} for "
                f"{len(self._blocks)} such sets of layers in model="
                f"{self.model.name!r}"
            )
        self._zeroed = np.zeros(len(self._trace), bool)

    def on_epoch_begin(self, epoch, logs=None):
        # By now all callbacks have begun.
        if any(isinstance(v.constraint, Mask) for v in self.model.variables):
            raise ValueError(
                "SoftPruning needs zeros that can grow again, and Freeze "
                "keeps them zero: use Freeze in the training after this one. "
                "Received: both callbacks"
            )

    def on_epoch_end(self, epoch, logs=None):
        synced(self.model)
        rate = self.rate_after((epoch + 1) / self.params["epochs"])
        scores = criteria.scores_of(self._trace, self.criterion, self.data)
        self._zeroed[:] = False
        for roots in self._blocks:
            order = roots[np.argsort(scores[roots], kind="stable")]
            self._zeroed[order[: _count(rate, roots)]] = True
        self._zero()

    def on_train_end(self, logs=None):
        # Another callback may have brought the best weights back.
        self._zero()

    def _zero(self):
        """Sets the chosen channels to zero."""
        trace = self._trace
        for use in [*trace.of_role(*_ROLES), *trace.of_role("state")]:
            if use.role == "state" and use.variable.name != "moving_mean":
                continue
            zero = self._zeroed[trace.root_of[use.ids]]
            if zero.any():
                rows = np.moveaxis(use.values.copy(), use.axis, 0)
                rows[zero] = 0
                use.variable.assign(np.moveaxis(rows, 0, use.axis))


def _count(rate, roots):
    # A product such as 0.29 * 100 may lie just below a whole number.
    return int(round(rate * len(roots), 6))


def _blocks(trace):
    """The classes that layers which train make together, as arrays."""
    makes = np.zeros(len(trace), bool)
    frozen = np.zeros(len(trace), bool)
    for use in trace.of_role("filter"):
        makes[trace.root_of[use.ids]] = True
        frozen[trace.root_of[use.ids]] |= not use.variable.trainable
    blocks = [
        roots[makes[roots] & ~frozen[roots]]
        for roots in trace.blocks().values()
    ]
    return [roots for roots in blocks if len(roots)]


def _check_solver(solver):
    """Refuses solvers that overwrite the zeros, or keep them zero."""
    if solver is None:
        return
    halves = getattr(solver, "half_space", None) is not None
    if halves or not solver.sets_weights:
        raise ValueError(
            "SoftPruning sets filters to zero itself and lets them grow "
            "again: it needs solver=ProximalGradient() without a half-space "
            f"step, or a plain keras.Model. Received: solver={solver!r}"
        )
