"""What a solver is: how loss + penalty is minimised."""

import contextlib
import warnings

import keras
from keras import ops

from keras_nonconvex import layouts
from keras_nonconvex import regularizers
from keras_nonconvex.backends import assign
from keras_nonconvex.backends import traced
from keras_nonconvex.solvers import batches
from keras_nonconvex.solvers import step_size
from keras_nonconvex.solvers.state import read
from keras_nonconvex.tensors import in_full_precision

# Optimizers that compute a weight from their own state, not from the weight.
_REBUILDING = ("Ftrl", "ScheduleFreeAdamW")


class Solver:
    """What happens around the optimizer's step: the base of all solvers.

    Pass an instance of a subclass to `compile(solver=...)`. A subclass says
    which part of a regularizer it handles itself (`parts`). The optimizer
    follows the gradient of the rest, and of regularizers of other packages,
    as in any Keras model. `docs/add-a-solver.md` writes one.

    The hooks, in the order in which a model calls them:

        check           when the model is compiled: refuses with a sentence
        bind            right after it: makes the variables of the solver
        begin_epoch     before each epoch
        before_update   before each update
        coupling        within the loss: a term that moves the weights and is
                        not logged
        after_update    after each update
        finish          at the end of `fit`

    A solver holds settings only, the ones of `get_config`, and may serve
    several models. What changes in training is in `model.solver_state`, whose
    variables are saved with the model.
    """

    # Whether the solver has a prox for groups across layers (CoupledGroups).
    couples = False
    # Whether it sets weights while training goes on.
    sets_weights = True

    def __init__(self):
        self._values = traced(batches.value)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)

    def parts(self, regularizer):
        """Splits a regularizer between the optimizer and this solver.

        Args:
            regularizer: A regularizer of this package.

        Returns:
            (followed, handled): two regularizers that add up to the given
            one; either may be None. The optimizer follows the gradient of
            the first, this solver's hooks handle the second. By default a
            regularizer that has a prox is handled and any other is followed.
        """
        if regularizer.has_prox:
            return None, regularizer
        return regularizer, None

    def targets(self, model):
        """The weights that this solver handles.

        Args:
            model: A built `ProximalModel`.

        Returns:
            A list of (trainable variable, the handled part of its
            regularizer, as `parts` gives it).
        """
        targets = []
        for variable in model.trainable_variables:
            if isinstance(variable.regularizer, regularizers.Regularizer):
                _, handled = self.parts(variable.regularizer)
                if handled is not None:
                    targets.append((variable, handled))
        return targets

    def check(self, model):
        """Refuses what would undo the zeros or cut the wrong groups.

        Called by `compile`. A subclass that needs more calls
        `super().check(model)` and raises a ValueError.

        Args:
            model: A built model that is being compiled.
        """
        self.check_optimizer(model)
        for place in layouts.places(model):
            _check_layout(place)
        if model.coupled is not None:
            self.check_coupled(model)

    def check_coupled(self, model):
        """Refuses two proxes on one weight, and solvers without any.

        Args:
            model: A built model whose `coupled` is not None.
        """
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
        """Refuses an optimizer that would undo the zeros.

        Args:
            model: A model with an `optimizer`.
        """
        optimizer = step_size.innermost(model.optimizer)
        # There since Keras 3.14.
        if type(optimizer).__name__ == "MultiOptimizer":
            raise ValueError(
                "A MultiOptimizer has several learning rates, and the prox "
                "needs one: use a single optimizer, or solver=Subgradient(). "
                f"Received: optimizer={type(optimizer).__name__}"
            )
        if self.sets_weights:
            check_rebuilding(optimizer)
        check_averaging(optimizer)
        penalties = [regularizer for _, regularizer in self.targets(model)]
        if model.coupled is not None:
            penalties.append(model.coupled)
        if getattr(optimizer, "weight_decay", None) and any(
            penalty.decays for penalty in penalties
        ):
            warnings.warn(
                "A penalty of this model is a weight decay already (decay=, or "
                "an envelope without debiased=True), and the optimizer's acts "
                "on top of it: leave one of the two out. Received: optimizer="
                f"{type(optimizer).__name__}(weight_decay="
                f"{optimizer.weight_decay})",
                stacklevel=6,
            )

    def bind(self, model):
        """Makes the variables that the solver changes in training.

        Scalars by `model.solver_state.scalar`, tensors in the shapes of
        weights by `model.solver_state.add_like`.

        Args:
            model: A built model that is being compiled.
        """

    def begin_epoch(self, model, epoch):
        """Called before each epoch.

        Args:
            model: The model in training.
            epoch: A whole number, counted from 0.
        """

    def penalty(self, model, regularizer, w):
        """The part of a regularizer's value that keeps its gradient.

        Args:
            model: The model in training.
            regularizer: The regularizer of one of its weights.
            w: The value of that weight.

        Returns:
            A scalar.
        """
        followed, _ = self.parts(regularizer)
        if followed is None:
            return ops.zeros((), w.dtype)
        moment = [ops.cast(v, w.dtype) for v in model.solver_state.moment]
        return followed.at(*moment).value(w)

    def handled_value(self, model):
        """The handled part of all regularizers' values, for the logs.

        Args:
            model: The model in training.

        Returns:
            A scalar without a gradient.
        """
        moment = model.solver_state.moment
        total = 0.0
        if model.coupled is not None:
            total = model.coupled.value(
                [ops.stop_gradient(read(v)) for v in model.coupled.variables],
                *moment,
            )
        targets = self.targets(model)
        if not targets:
            return total
        variables, active = zip(*targets, strict=True)
        return total + self._values(
            active,
            [ops.stop_gradient(read(variable)) for variable in variables],
            *moment,
        )

    def coupling(self, model):
        """A term that moves the weights and is not part of the logged loss.

        Args:
            model: The model in training.

        Returns:
            A scalar whose gradient the optimizer follows too (`pull` makes
            one), or None.
        """

    def before_update(self, model):
        """Called before each update of the optimizer.

        Args:
            model: The model in training.

        Returns:
            Whatever `after_update` must know of the time before the update:
            tensors, in any structure, or None.
        """

    def after_update(self, model, before=None):
        """Called after each update of the optimizer.

        Args:
            model: The model in training.
            before: What `before_update` returned ahead of this update.
                Defaults to `None`.
        """

    def finish(self, model):
        """Called after the last epoch: leaves the final weights.

        Those of the penalties that this solver handles and that fix how many
        groups stay become these groups, unless their strength is 0.

        Args:
            model: The model whose training ends.
        """
        strength = read(model.solver_state.strength)
        for variable, reg in self.targets(model):
            last = reg.last(read(variable))
            if last is not None and reg.strength * strength > 0:
                variable.assign(last)
        coupled = model.coupled
        if coupled is not None and coupled.strength * strength > 0:
            last = coupled.last([read(v) for v in coupled.variables])
            if last is not None:
                assign(coupled.variables, last)

    @contextlib.contextmanager
    def finished(self, model):
        """A scope in which the weights are as `finish` would leave them.

        Args:
            model: The model in training. Its weights and the solver's
                variables come back at the end of the scope.
        """
        changing = [*model.trainable_variables, *model.solver_state.variables]
        kept = [(v, read(v)) for v in changing]
        self.finish(model)
        try:
            yield
        finally:
            for variable, value in kept:
                variable.assign(value)

    def get_config(self):
        """The arguments of the constructor, as data that JSON can hold."""
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __reduce__(self):
        # Compiled functions can be neither copied nor pickled.
        return type(self).from_config, (self.get_config(),)

    def __repr__(self):
        config = ", ".join(
            f"{k}={getattr(self, k)!r}" for k in self.get_config()
        )
        return f"{type(self).__name__}({config})"


def check_rebuilding(optimizer):
    """Refuses an optimizer that does not start from the weights.

    Args:
        optimizer: An optimizer, without a wrapper.
    """
    if type(optimizer).__name__ in _REBUILDING:
        raise ValueError(
            "This optimizer computes each weight anew from a state of its "
            "own, which undoes exact zeros; use another one, such as Adam, "
            "or VariableSplitting, which leaves the weights to it. "
            f"Received: optimizer={type(optimizer).__name__}"
        )


def check_averaging(optimizer):
    """Refuses an optimizer that averages the weights in the end.

    Args:
        optimizer: An optimizer, without a wrapper.
    """
    if getattr(optimizer, "use_ema", False):
        raise ValueError(
            "use_ema=True overwrites exact zeros with running averages; "
            "use an optimizer without it. "
            f"Received: optimizer={type(optimizer).__name__}(use_ema=True)"
        )


def pull(variable, target, weight):
    """weight / 2 ||variable - target||^2, a term for `coupling`.

    Args:
        variable: A weight; the gradient reaches it alone.
        target: A tensor in its shape.
        weight: A number or scalar tensor >= 0.

    Returns:
        A scalar.
    """
    target = ops.stop_gradient(in_full_precision(target))
    distance = ops.sum(ops.square(in_full_precision(variable) - target))
    return ops.cast(weight / 2.0, distance.dtype) * distance


def _check_layout(place):
    """Refuses penalties that mean something else in this layer's kernel."""
    layer, slot = place.layers[-1], place.slot
    penalty = getattr(layer, slot.attribute, None)
    # Keras gives it to the two factors, where groups mean nothing.
    if getattr(layer, "lora_enabled", False) and isinstance(
        penalty, regularizers.Regularizer
    ):
        raise ValueError(
            f"The kernel of layer '{layouts.name(place)}' "
            f"{layouts.closed(layer)}: take its penalty off with knc.strip. "
            f"Received: {penalty!r}"
        )
    for owner in (slot.variable.regularizer, slot.variable.constraint):
        needed = layouts.fitted(owner, slot)
        if needed is not owner:
            raise ValueError(
                f"Layer '{layouts.name(place)}' ({type(layer).__name__}) has "
                "its filters or input channels on other kernel axes than "
                f"Dense and Conv2D: write {needed!r}, or let "
                "knc.attach choose the axes. "
                f"Received: {owner!r}"
            )
