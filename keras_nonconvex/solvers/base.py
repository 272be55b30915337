"""What a solver is: how loss + penalty is minimised."""

import contextlib
import warnings

import keras
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex.backends import compiled
from keras_nonconvex.solvers import step_size
from keras_nonconvex.solvers.state import read
from keras_nonconvex.tensors import in_full_precision


class Solver:
    """What happens around the optimizer's step.

    A subclass says which part of a regularizer it handles itself (`parts`);
    the rest, and regularizers of other packages, act by their gradient, as in
    any Keras model. The hooks, in the order of their calls:

        bind            once, when the model is compiled and built
        begin_epoch     before each epoch
        coupling        a term that moves the weights and is not logged
        before_update   before each step
        after_update    after each step
        finish          at the end of `fit`

    A solver holds settings only and may serve several models. What changes in
    training is in `model.solver_state`.
    """

    # Whether the solver has a prox for groups across layers.
    couples = False

    def __init__(self):
        self._values = compiled(_sum_of_values)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)

    def parts(self, regularizer):
        """(what the optimizer's step follows, what this solver handles).

        Two regularizers that add up to the given one; either may be None.
        """
        if regularizer.has_prox:
            return None, regularizer
        return regularizer, None

    def targets(self, model):
        """[(variable, the part of its regularizer that this one handles)]."""
        found = []
        for variable in model.trainable_variables:
            if isinstance(variable.regularizer, regularizers.Regularizer):
                _, handled = self.parts(variable.regularizer)
                if handled is not None:
                    found.append((variable, handled))
        return found

    def check(self, model):
        """Refuses what would undo the zeros or cut the wrong groups."""
        self.check_optimizer(model)
        for layer in graph.sublayers(model):
            _check_layout(layer)
        if model.coupled is not None:
            self.check_coupled(model)

    def check_coupled(self, model):
        """Refuses two proxes on one weight, and solvers without any."""
        if not self.couples:
            raise ValueError(
                "Coupled groups need solver=ProximalGradient(). "
                f"Received: solver={self!r}"
            )
        coupled = {id(v) for v in model.coupled.variables}
        twice = [v.path for v, _ in self.targets(model) if id(v) in coupled]
        if twice:
            raise ValueError(
                "Weights in coupled groups cannot have a prox of their own "
                "too: take these regularizers off with knc.strip. "
                f"Received: {', '.join(twice)}"
            )

    def check_optimizer(self, model):
        """Refuses an optimizer that would undo the zeros."""
        optimizer = step_size.innermost(model.optimizer)
        if type(optimizer).__name__ == "MultiOptimizer":  # Keras >= 3.14
            raise ValueError(
                "A MultiOptimizer has no one learning rate for the prox: take "
                "one optimizer, or solver=Subgradient() on a ProximalModel. "
                f"Received: optimizer={type(optimizer).__name__}"
            )
        if getattr(optimizer, "use_ema", False):
            raise ValueError(
                "use_ema=True overwrites exact zeros with running averages; "
                "use an optimizer without it. "
                f"Received: optimizer={type(optimizer).__name__}(use_ema=True)"
            )
        if getattr(optimizer, "weight_decay", None) and any(
            regularizer.decays for _, regularizer in self.targets(model)
        ):
            warnings.warn(
                "The envelope is a weight decay already, and the optimizer's "
                "acts on top of it: leave one of the two off, or take "
                "debiased=True. Received: optimizer="
                f"{type(optimizer).__name__}(weight_decay="
                f"{optimizer.weight_decay})",
                stacklevel=6,
            )

    def bind(self, model):
        """Makes the variables of `model.solver_state` that this one needs."""

    def begin_epoch(self, model, epoch):
        """Told before each epoch; counts from 0."""

    def penalty(self, model, regularizer, w):
        """The part of a regularizer's value that keeps its gradient."""
        followed, _ = self.parts(regularizer)
        if followed is None:
            return ops.zeros((), w.dtype)
        strength = ops.cast(read(model.solver_state.strength), w.dtype)
        return followed.scaled(strength).value(w)

    def handled_value(self, model):
        """The rest of all regularizers' values, without a gradient."""
        strength = read(model.solver_state.strength)
        total = 0.0
        if model.coupled is not None:
            total = model.coupled.value(
                [ops.stop_gradient(read(v)) for v in model.coupled.variables],
                strength,
            )
        targets = self.targets(model)
        if not targets:
            return total
        variables, active = zip(*targets, strict=True)
        return total + self._values(
            active,
            [ops.stop_gradient(read(variable)) for variable in variables],
            strength,
        )

    def coupling(self, model):
        """A scalar whose gradient the optimizer follows too, or None."""

    def before_update(self, model):
        """What `after_update` must know of the time before the update."""

    def after_update(self, model, before=None):
        """What follows the optimizer's step."""

    def finish(self, model):
        """What follows the last epoch."""

    @contextlib.contextmanager
    def finished(self, model):
        """A scope in which the weights are as `finish` would leave them."""
        kept = [(v, read(v)) for v in model.trainable_variables]
        self.finish(model)
        try:
            yield
        finally:
            for variable, value in kept:
                variable.assign(value)

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        config = ", ".join(
            f"{k}={getattr(self, k)!r}" for k in self.get_config()
        )
        return f"{type(self).__name__}({config})"


def _sum_of_values(active, values, strength):
    total = 0.0
    for reg, w in zip(active, values, strict=True):
        w = in_full_precision(w)
        value = reg.scaled(ops.cast(strength, w.dtype)).value(w)
        total = total + ops.cast(value, keras.config.floatx())
    return total


def pull(variable, target, weight):
    """weight / 2 ||variable - target||^2, with a gradient on the first."""
    target = ops.stop_gradient(in_full_precision(target))
    distance = ops.sum(ops.square(in_full_precision(variable) - target))
    return ops.cast(weight / 2.0, distance.dtype) * distance


def _check_layout(layer):
    """Refuses groups that mean something else in this layer's kernel."""
    for slot in layouts.slots(layer):
        for owner in (slot.variable.regularizer, slot.variable.constraint):
            needed = layouts.fitted(owner, slot)
            if needed is not owner:
                raise ValueError(
                    f"Layer '{layer.name}' ({type(layer).__name__}) has its "
                    "filters or input channels on other kernel axes than "
                    f"Dense and Conv2D: write {needed!r}, or let "
                    "knc.attach choose the axes. "
                    f"Received: {owner!r}"
                )
