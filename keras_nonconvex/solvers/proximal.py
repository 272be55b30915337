"""Proximal gradient: the optimizer's step, then the prox of each penalty."""

import collections

import keras
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex.solvers import step_size
from keras_nonconvex.solvers.compiled import compiled

Before = collections.namedtuple("Before", "iterations learning_rate")


@keras.saving.register_keras_serializable("keras_nonconvex")
class ProximalGradient:
    """w <- prox_{s penalty}(optimizer step on the data loss).

    Weights and groups whose data gradient does not outweigh the penalty
    become exactly zero, and stay so until it does.

    Args:
        step: "auto" for the step at which the optimizer's fixed point is the
            minimiser of the logged loss (`step_size.py`), or
            "learning_rate".
    """

    def __init__(self, step="auto"):
        if step not in ("auto", "learning_rate"):
            raise ValueError(
                "Argument `step` must be 'auto' or 'learning_rate'. "
                f"Received: step={step!r}"
            )
        self.step = step
        self._prox = compiled(_prox_all)

    def bind(self, model):
        """Checks a compiled model; makes this solver's state.

        Refuses what would undo the zeros or cut the wrong groups. The state
        rides in the optimizer, which saves, restores and threads it.
        """
        optimizer = step_size.innermost(model.optimizer)
        if getattr(optimizer, "use_ema", False):
            raise ValueError(
                "use_ema=True overwrites exact zeros with running averages; "
                "use an optimizer without it. "
                f"Received: optimizer={type(optimizer).__name__}(use_ema=True)"
            )
        step_size.check(optimizer, self.step)
        for layer in graph.sublayers(model):
            _check_layout(layer)
        if not hasattr(optimizer, "prox_reach"):
            if optimizer.built:
                raise ValueError(
                    "This optimizer was already used by a model without a "
                    "solver; compile with a new one. "
                    f"Received: optimizer={type(optimizer).__name__}"
                )
            optimizer.prox_reach = optimizer.add_variable((), name="prox_reach")

    def targets(self, model):
        """[(variable, regularizer)] that this solver applies a prox to."""
        return [
            (v, v.regularizer)
            for v in model.trainable_variables
            if isinstance(v.regularizer, regularizers.Regularizer)
            and v.regularizer.has_prox
        ]

    def before_update(self, model):
        """What `after_update` must know of the time before the update."""
        return Before(
            step_size.read(model.optimizer.iterations),
            step_size.read(step_size.innermost(model.optimizer).learning_rate),
        )

    def after_update(self, model, before=None):
        """Applies the prox. Call it after each optimizer step.

        Args:
            model: A built and compiled model.
            before: What `before_update` returned ahead of the step. With it
                the prox is the identity where the optimizer only
                accumulated gradients, and a learning-rate schedule is read
                at the right iteration.
        """
        targets = self.targets(model)
        if not targets:
            return
        lr = (before or self.before_update(model)).learning_rate
        state = step_size.innermost(model.optimizer).prox_reach
        before_reach = step_size.read(state)
        reach = step_size.momentum(model.optimizer) * before_reach + ops.cast(
            lr, before_reach.dtype
        )
        if before is None:
            state.assign(reach)
        else:
            updated = ops.not_equal(
                step_size.read(model.optimizer.iterations), before.iterations
            )
            state.assign(ops.where(updated, reach, before_reach))
            reach = reach * ops.cast(updated, reach.dtype)
            lr = lr * ops.cast(updated, lr.dtype)
        points, steps = zip(
            *(
                step_size.point_and_step(
                    model.optimizer,
                    variable,
                    reach,
                    lr,
                    self.step,
                    regularizer.group_axes(len(variable.shape)),
                )
                for variable, regularizer in targets
            ),
            strict=True,
        )
        variables, active = zip(*targets, strict=True)
        new_values = self._prox(active, points, steps)
        for variable, value in zip(variables, new_values, strict=True):
            variable.assign(value)

    def get_config(self):
        return {"step": self.step}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _check_layout(layer):
    """Refuses groups that mean something else in this layer's kernel."""
    for slot in layouts.slots(layer):
        rank = len(slot.variable.shape)
        for owner in (slot.variable.regularizer, slot.variable.constraint):
            if not hasattr(owner, "for_layout"):
                continue
            needed = owner.for_layout(rank, slot.layout)
            if needed is not owner:
                raise ValueError(
                    f"Layer '{layer.name}' ({type(layer).__name__}) has its "
                    "filters or input channels on other kernel axes than "
                    f"Dense and Conv2D: write {needed!r}, or let "
                    "knc.attach choose the axes. "
                    f"Received: {owner!r}"
                )


def _prox_all(active, points, steps):
    return [
        regularizer.proximal(point, step)
        for regularizer, point, step in zip(active, points, steps, strict=True)
    ]
