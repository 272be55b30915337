"""What a solver is: how loss + penalty is minimised."""

import contextlib

import keras
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex.solvers import step_size
from keras_nonconvex.solvers.state import read


class Solver:
    """What happens around the optimizer's step.

    A subclass says which regularizers it handles itself (`handles`); the
    others, and those of other packages, act by their gradient, as in any
    Keras model. The hooks, in the order of their calls:

        bind            once, when the model is compiled and built
        begin_epoch     before each epoch
        penalty         a regularizer's term in the loss
        coupling        a further term, which moves the weights unlogged
        before_update   before each step
        after_update    after each step
        finish          at the end of `fit`

    A solver holds settings only and may serve several models. What changes in
    training is in `model.solver_state`.
    """

    needs = "a prox"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)

    def handles(self, regularizer):
        """Whether this solver minimises `regularizer` in its own way."""
        return regularizer.has_prox

    def targets(self, model):
        """[(variable, regularizer)] that this solver handles."""
        return [
            (v, v.regularizer)
            for v in model.trainable_variables
            if isinstance(v.regularizer, regularizers.Regularizer)
            and self.handles(v.regularizer)
        ]

    def check(self, model):
        """Refuses what would undo the zeros or cut the wrong groups."""
        optimizer = step_size.innermost(model.optimizer)
        if getattr(optimizer, "use_ema", False):
            raise ValueError(
                "use_ema=True overwrites exact zeros with running averages; "
                "use an optimizer without it. "
                f"Received: optimizer={type(optimizer).__name__}(use_ema=True)"
            )
        for layer in graph.sublayers(model):
            _check_layout(layer)

    def bind(self, model):
        """Makes the variables of `model.solver_state` that this one needs."""

    def begin_epoch(self, model, epoch):
        """Told before each epoch; counts from 0."""

    def penalty(self, model, regularizer, w):
        """The term of `regularizer` in the loss.

        Its value is logged; its gradient is the part of the penalty that the
        optimizer's step follows.
        """
        value = self.value(model, regularizer, w)
        if self.handles(regularizer):
            return ops.stop_gradient(value)
        return value

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

    def value(self, model, regularizer, w):
        """The penalty on `w` at the strength that it has now."""
        strength = ops.cast(read(model.solver_state.strength), w.dtype)
        return regularizer.scaled(strength).value(w)

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


def pull(variable, target, weight):
    """weight / 2 ||variable - target||^2, with a gradient on the first."""
    target = ops.stop_gradient(ops.convert_to_tensor(target))
    return weight / 2.0 * ops.sum(ops.square(variable - target))


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
