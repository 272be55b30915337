"""Proximal gradient: the optimizer's step, then the prox of each penalty."""

import collections

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.backends import assign
from keras_nonconvex.backends import traced
from keras_nonconvex.solvers import batches
from keras_nonconvex.solvers import half_space
from keras_nonconvex.solvers import step_size
from keras_nonconvex.solvers.base import Solver
from keras_nonconvex.solvers.state import read

Before = collections.namedtuple(
    "Before", "iterations learning_rate values coupled"
)


class ProximalGradient(Solver):
    """w <- prox_{s penalty}(optimizer step on the data loss).

    Weights and groups whose data gradient does not outweigh the penalty
    become exactly zero, and stay so until it does.

    With `half_space` a group also becomes zero when one update turns it by
    too much: <new, old> < half_space ||old||^2. This finds zeros that the
    prox alone, under the noise of small batches, leaves near zero; groups
    that are zero then stay so, unless they may `revive`. With
    `half_space_growth` the factor adapts: it grows after each epoch in which
    less than 1 % of the groups more became zero, up to 0.999.

    Args:
        step: The step of the prox. `"auto"` is the step with which training
            ends at a minimum of the logged loss (`step_size.py` derives it
            for SGD, momentum and the Adam family). `"preconditioned"` is the
            same, but refuses optimizers that do not scale the step of each
            weight as Adam does. `"learning_rate"` is the learning rate.
            Defaults to `"auto"`.
        half_space: The factor above, a number in [0, 1): the larger, the
            more groups become zero. None turns the half-space step off. With
            an envelope, whose prox also shrinks the groups that survive, the
            factor is lowered so that those groups are not zeroed. Defaults to
            `None`.
        half_space_from: A whole number >= 0, the epoch (counted from 0) of
            the first half-space step. Defaults to `0`.
        keep_at_least: How many groups of each weight, or coupled groups of
            the network, the half-space step leaves: a whole number >= 1, or a
            percentage such as `"10%"`. None means the k of an envelope, none
            of the coupled groups of a plan, and 1 for other penalties.
            Defaults to `None`.
        half_space_growth: A number >= 0, what is added to the factor when
            sparsity has stopped growing. The authors' code adds 0.1, and looks
            every 200 steps. Defaults to `0.0`.
        revive: True or False, whether groups that are zero may live again
            where the gradient outweighs the penalty. Defaults to `False`.

    Example:
    ```python
    solver = knc.solvers.ProximalGradient(half_space=0.5, half_space_from=5)
    model.compile("sgd", "sparse_categorical_crossentropy", solver=solver)
    ```

    References: Yun, Lozano, Yang, Adaptive Proximal Gradient Methods for
    Structured Neural Networks (ProxGen), 2021; Chen et al., Half-Space
    Proximal Stochastic Gradient Method (HSPG), 2020; Refael, Arbel, Huleihel
    (WGSEF), 2023.
    """

    couples = True

    def __init__(
        self,
        step="auto",
        half_space=None,
        half_space_from=0,
        keep_at_least=None,
        half_space_growth=0.0,
        revive=False,
    ):
        if half_space is not None:
            half_space = checks.number(
                "half_space",
                half_space,
                "a number in [0, 1) or None",
                lambda v: 0.0 <= v < 1.0,
            )
        if keep_at_least is not None:
            keep_at_least = group_patterns.check_count(
                keep_at_least, whole=True
            )
        super().__init__()
        self.step = checks.choice(
            "step", step, ("auto", "preconditioned", "learning_rate")
        )
        self.half_space = half_space
        self.half_space_from = checks.whole(
            "half_space_from", half_space_from, 0
        )
        self.keep_at_least = keep_at_least
        self.half_space_growth = checks.number(
            "half_space_growth", half_space_growth
        )
        self.revive = bool(revive)
        self._prox = traced(self._new_values)

    def check(self, model):
        super().check(model)
        step_size.check(model.optimizer, self.step)

    def bind(self, model):
        # The recursion of `step_size`, and whether the half-space step is on.
        model.solver_state.reach = model.solver_state.scalar("reach")
        # Loops without epochs never call `begin_epoch`.
        model.solver_state.half_space = model.solver_state.scalar(
            "half_space", float(self._turns(0))
        )
        if self.half_space is not None and self.half_space_growth:
            half_space.add_epsilon(model.solver_state, self.half_space)

    def begin_epoch(self, model, epoch):
        model.solver_state.half_space.assign(float(self._turns(epoch)))
        if self.half_space_growth and self._turns(epoch - 1):
            half_space.adapt_epsilon(
                model, self.targets(model), self.half_space_growth
            )

    def _turns(self, epoch):
        """Whether the half-space step is taken in an epoch."""
        return self.half_space is not None and epoch >= self.half_space_from

    def before_update(self, model):
        values = [
            read(variable) if self._looks_back(model, variable, reg) else None
            for variable, reg in self.targets(model)
        ]
        return Before(
            read(model.optimizer.iterations),
            read(step_size.innermost(model.optimizer).learning_rate),
            values,
            self._coupled_before(model),
        )

    def _coupled_before(self, model):
        if model.coupled is None:
            return None
        if self.half_space is None and not self._adapts(model):
            return None
        return [read(variable) for variable in model.coupled.variables]

    def _adapts(self, model):
        """Whether the step is taken in the optimizer's own metric."""
        return (
            self.step != "learning_rate"
            and step_size.metric_of(model.optimizer) is not None
        )

    def after_update(self, model, before=None):
        """Applies the prox. Call it after each optimizer step.

        Args:
            model: A built and compiled model.
            before: What `before_update` returned ahead of the step. With it
                the prox is the identity where the optimizer only
                accumulated gradients, and a learning-rate schedule is read
                at the right iteration. Adaptive optimizers with group
                penalties, and the half-space step, need it. Defaults to
                `None`.
        """
        targets = self.targets(model)
        if not targets and model.coupled is None:
            return
        state, optimizer = model.solver_state, model.optimizer
        if before is None:
            before = self._without_before(model)
            updated = ops.ones((), "bool")
        else:
            updated = ops.not_equal(
                read(optimizer.iterations), before.iterations
            )
        last = read(state.reach)
        lr = ops.cast(before.learning_rate, last.dtype)
        reach = step_size.momentum(optimizer) * last + lr
        new_reach = ops.where(updated, reach, last)
        reach = ops.where(updated, reach, ops.zeros_like(reach))
        lr = ops.where(updated, lr, ops.zeros_like(lr))
        variables, values = [state.reach], [new_reach]
        if targets:
            new = self._own_proxes(model, targets, before, reach, lr, updated)
            variables += [variable for variable, _ in targets]
            values += new
        if model.coupled is not None:
            variables += model.coupled.variables
            values += self._coupled_prox(model, before, reach, lr, updated)
        # The optimizer has projected already; the prox may have left the set.
        values = [
            value if variable.constraint is None else variable.constraint(value)
            for variable, value in zip(variables, values, strict=True)
        ]
        assign(variables, values)

    def _own_proxes(self, model, targets, before, reach, lr, updated):
        """The new values of the weights that have a penalty of their own."""
        points, steps = self._points_and_steps(
            model, targets, before, reach, lr
        )
        return self._prox(
            [reg for _, reg in targets],
            points,
            steps,
            before.values,
            model.solver_state.moment,
            self._turned(model, updated),
            half_space.epsilon(model.solver_state, self.half_space),
        )

    def _turned(self, model, updated):
        """Whether this update is followed by a half-space step."""
        on = read(model.solver_state.half_space) > 0
        return ops.logical_and(on, updated)

    def _coupled_prox(self, model, before, reach, lr, updated):
        """The new values of the weights in groups across layers."""
        coupled = model.coupled
        points = [read(variable) for variable in coupled.variables]
        step = reach if self.step != "learning_rate" else lr
        if self._adapts(model):
            metrics = [
                step_size.weight_metric(
                    model.optimizer,
                    variable,
                    ops.cast(lr, now.dtype),
                    now.dtype,
                )
                for variable, now in zip(coupled.variables, points, strict=True)
            ]
            points, step = coupled.classes.points_and_steps(
                before.coupled, points, metrics
            )
        moment = model.solver_state.moment
        turned = self._turned(model, updated)
        if self.half_space is not None and not self.revive:
            points = coupled.held(points, before.coupled, turned)
        new = coupled.proximal(points, step, *moment)
        if self.half_space is None:
            return new
        return coupled.half_space(
            new,
            before.coupled,
            step,
            *moment,
            turned,
            half_space.epsilon(model.solver_state, self.half_space),
            self.keep_at_least,
            self.revive,
        )

    def _points_and_steps(self, model, targets, before, reach, lr):
        """Where each prox is taken, and its step: two lists."""
        points, steps = [], []
        for (variable, reg), old in zip(targets, before.values, strict=True):
            point, step = self._point_and_step(
                model.optimizer, variable, reg, old, reach, lr
            )
            points.append(point)
            steps.append(step)
        return points, steps

    def _point_and_step(self, optimizer, variable, reg, old, reach, lr):
        now = read(variable)
        lr = ops.cast(lr, now.dtype)
        if self.step == "learning_rate":
            return now, lr
        if step_size.metric_of(optimizer) is None:
            return now, ops.cast(reach, now.dtype)
        axes = reg.group_axes(len(variable.shape))
        return step_size.point_and_step(optimizer, variable, old, now, lr, axes)

    def _new_values(self, active, points, steps, olds, moment, turned, epsilon):
        if self.half_space is not None and not self.revive:
            points = [
                half_space.held(point, old, turned, regularizer=reg)
                for reg, point, old in zip(active, points, olds, strict=True)
            ]
        values = batches.proximal(active, points, steps, *moment)
        if self.half_space is None:
            return values
        return [
            half_space.taken(
                new,
                old,
                step,
                *moment,
                turned,
                epsilon,
                regularizer=reg,
                keep=self.keep_at_least,
                revive=self.revive,
            )
            for reg, new, old, step in zip(
                active, values, olds, steps, strict=True
            )
        ]

    def _looks_back(self, model, variable, reg):
        """Whether the value before the update is needed."""
        grouped = reg.group_axes(len(variable.shape)) != ()
        return self.half_space is not None or (self._adapts(model) and grouped)

    def _without_before(self, model):
        if self._coupled_before(model) is not None or any(
            self._looks_back(model, variable, reg)
            for variable, reg in self.targets(model)
        ):
            raise ValueError(
                "This optimizer or half-space step needs the weights before "
                "the update: call solver.before_update(model) ahead of the "
                "step and pass what it returns. Received: before=None"
            )
        return self.before_update(model)

    def get_config(self):
        return {
            "step": self.step,
            "half_space": self.half_space,
            "half_space_from": self.half_space_from,
            "keep_at_least": self.keep_at_least,
            "half_space_growth": self.half_space_growth,
            "revive": self.revive,
        }
