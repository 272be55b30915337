"""`ProximalModel`: Keras' own train step, with a solver around it."""

import contextlib
import functools
import inspect
import warnings

import keras
import numpy as np
from keras import ops

from keras_nonconvex import layouts
from keras_nonconvex import terminal
from keras_nonconvex.backends import no_gradients
from keras_nonconvex.backends import replicas
from keras_nonconvex.backends import strategy_scope
from keras_nonconvex.regularizers import scope
from keras_nonconvex.solvers import ProximalGradient
from keras_nonconvex.solvers import Solver
from keras_nonconvex.solvers import step_size
from keras_nonconvex.solvers.state import State
from keras_nonconvex.training import inner_layers
from keras_nonconvex.training.coupled import Coupled
from keras_nonconvex.training.replication import Replicated


class ProximalMixin(Replicated):
    """Gives a Keras model a solver: `compile(..., solver=...)`.

    Write it before the model class, for Sequential and subclassed models; for
    functional models there is `ProximalModel`. Everything else of the model
    stays Keras'. The logged loss is data loss + penalty, at the strength that
    a `StrengthSchedule` has reached. A NaN or infinite loss ends training
    with the weights that the epoch began with.

    Example:
    ```python
    @keras.saving.register_keras_serializable()
    class Net(knc.ProximalMixin, keras.Sequential):
        pass

    reg = knc.GroupLasso(1e-3)
    dense = keras.layers.Dense(10, kernel_regularizer=reg)
    model = Net([keras.Input((64,)), dense])
    model.compile("sgd", "mse", solver=knc.solvers.ProximalGradient())
    ```
    """

    solver = None
    coupled = None
    # The solver's variables: neither tracked as a layer nor as weights.
    solver_state = None

    def compile(self, *args, solver=None, coupled=None, **kwargs):
        """Configures the model for training, as `keras.Model.compile` does.

        Compiling again with the same optimizer object and an equal solver
        keeps what the solver has gathered, such as the momentum of its step.

        Args:
            *args: The arguments of `keras.Model.compile`: `optimizer`,
                `loss` and so on.
            solver: A solver of `keras_nonconvex.solvers`, which says how
                loss + penalty is minimised. None means `ProximalGradient()`.
                Defaults to `None`.
            coupled: A `CoupledGroups` or `CoupledEnvelope` made of this
                model, or None for no groups across layers. Defaults to
                `None`.
            **kwargs: The keyword arguments of `keras.Model.compile`.
        """
        if solver is not None and not isinstance(solver, Solver):
            raise ValueError(
                "Argument `solver` must be a solver of "
                f"keras_nonconvex.solvers. Received: solver={solver!r}"
            )
        if coupled is not None and not isinstance(coupled, Coupled):
            raise ValueError(
                "Argument `coupled` must be a knc.CoupledGroups or "
                "knc.CoupledEnvelope. "
                f"Received: coupled={coupled!r}"
            )
        before = self.solver, getattr(self, "optimizer", None)
        state = self.solver_state
        super().compile(*args, **kwargs)
        self.solver = solver or ProximalGradient()
        self.__dict__["coupled"] = coupled and coupled.bound(self)
        self.__dict__["solver_state"] = None
        if self.built:
            self._bind()
            if state is not None and self._goes_on(*before):
                self.solver_state.take_over(state)

    def _goes_on(self, solver, optimizer):
        """Whether these are the solver and the optimizer of now as well."""
        same = step_size.innermost(optimizer) is step_size.innermost(
            self.optimizer
        )
        return (
            same
            and type(solver) is type(self.solver)
            and solver.get_config() == self.solver.get_config()
        )

    def _bind(self):
        inner_layers.fit(layouts.places(self))
        self.solver.check(self)
        with strategy_scope(self):
            # Not through setattr, which would track it as a layer.
            self.__dict__["solver_state"] = State()
            self.solver.bind(self)
            if self._fixes_a_count():
                self.solver_state.spare = self.solver_state.scalar("spare")
            self.solver_state.built = True

    def _fixes_a_count(self):
        """Whether a penalty says how many groups stay."""
        terms = [v.regularizer for v in self.trainable_variables]
        if self.coupled is not None:
            terms.append(self.coupled.term)
        return any(getattr(term, "counts", False) for term in terms)

    def make_train_function(self, force=False):
        if self.solver_state is None:
            self._bind()
        return super().make_train_function(force)

    @property
    def variables(self):
        # Through these, JAX hands the state to train and test steps.
        if self.solver_state is None:
            return super().variables
        return [*super().variables, *self.solver_state.variables]

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            solver = keras.saving.serialize_keras_object(self.solver)
            config = {**config, "solver": solver}
            if self.coupled is not None:
                coupled = keras.saving.serialize_keras_object(self.coupled)
                config["coupled"] = coupled
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, *args, **kwargs):
        """Trains the model, as `keras.Model.fit` does, with the solver.

        Args:
            *args: The arguments of `keras.Model.fit`.
            **kwargs: The keyword arguments of `keras.Model.fit`.

        Returns:
            Keras' `History`.
        """
        fit = super().fit
        bound = inspect.signature(fit).bind(*args, **kwargs)
        callbacks = bound.arguments.get("callbacks")
        with self._said_if_slow(bound.arguments.get("verbose")) as stepped:
            hooks = _Hooks(stepped)
            bound.arguments["callbacks"] = _with_hooks(callbacks, self, hooks)
            return fit(*bound.args, **bound.kwargs)

    def _said_if_slow(self, verbose):
        """Says what goes on while the first step is traced and compiled."""
        if verbose == 0:
            return contextlib.nullcontext(lambda: None)
        penalised = sum(
            variable.regularizer is not None
            for variable in self.trainable_variables
        )
        if self.coupled is not None:
            penalised += len(self.coupled.variables)
        return terminal.when_slow(
            f"Compiling the first training step ({penalised} weights have a "
            "penalty); later ones are fast."
        )

    def compute_loss(self, *args, training=True, **kwargs):
        loss = super().compute_loss(*args, training=training, **kwargs)
        if not scope.in_step(self):
            return loss
        more = self.solver.handled_value(self)
        coupling = self.solver.coupling(self) if training else None
        if coupling is not None:
            # Only its gradient counts: the log shows data loss + penalty.
            more = more + coupling - ops.stop_gradient(coupling)
        return loss + ops.cast(more, loss.dtype) / replicas()

    def test_step(self, *args):
        with self._in_step():
            return super().test_step(*args)

    def train_step(self, *args):
        if keras.backend.backend() == "jax":
            return self._stateless_train_step(*args)
        before = self.solver.before_update(self)
        with self._in_step():
            logs = super().train_step(*args)
        with no_gradients():
            self.solver.after_update(self, before)
        return logs

    def _in_step(self):
        # None in an `evaluate` before the first `fit`.
        if self.solver_state is None:
            return contextlib.nullcontext()
        return scope.step(self)

    def _get_regularization_losses(self):
        # Keras calls the regularizers of weights here and nowhere else.
        if not scope.in_step(self):
            return super()._get_regularization_losses()
        with scope.treating(functools.partial(self.solver.penalty, self)):
            return super()._get_regularization_losses()

    def _stateless_train_step(self, state, data):
        # JAX: variables are values in `state`, not in the model.
        with keras.StatelessScope(self._mapping(state)):
            before = self.solver.before_update(self)
        with self._in_step():
            logs, state = super().train_step(state, data)
        with keras.StatelessScope(self._mapping(state)) as after:
            self.solver.after_update(self, before)
        return logs, tuple(
            [
                value
                if after.get_current_value(v) is None
                else after.get_current_value(v)
                for v, value in zip(variables, values, strict=True)
            ]
            for variables, values in zip(
                self._variables(), state[:3], strict=True
            )
        ) + tuple(state[3:])

    def _variables(self):
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
        )

    def _mapping(self, state):
        return [
            pair
            for variables, values in zip(
                self._variables(), state[:3], strict=True
            )
            for pair in zip(variables, values, strict=True)
        ]


@keras.saving.register_keras_serializable("keras_nonconvex")
class ProximalModel(ProximalMixin, keras.Model):
    """A functional `keras.Model` whose `fit` gives exact zeros.

    Its `compile` takes two more arguments, `solver` and `coupled`; see
    `ProximalMixin.compile`. Everything else is Keras': `fit`, `evaluate`,
    `save`, callbacks. The logged loss is data loss + penalty.

    Args:
        *args: The arguments of `keras.Model`: `inputs` and `outputs`, tensors
            of a graph of layers that begins at `keras.Input`, or structures
            of them.
        **kwargs: The keyword arguments of `keras.Model`, such as `name`.

    Example:
    ```python
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(
        32, 3, kernel_regularizer=knc.SparseGroupTL1(1e-4, a=1.0)
    )(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(10, activation="softmax")(x)
    model = knc.ProximalModel(inputs, outputs)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x_train, y_train, epochs=20)
    ```
    """


def _with_hooks(callbacks, model, hooks):
    """The callbacks of a `fit`, with the hooks as the last."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        if not any(isinstance(c, _Hooks) for c in callbacks.callbacks):
            hooks.set_model(model)
            hooks.set_params(callbacks.params)
            callbacks.callbacks.append(hooks)
        return callbacks
    given = [] if callbacks is None else keras.tree.flatten(callbacks)
    return [*given, hooks]


class _Hooks(keras.callbacks.Callback):
    """Calls the solver around epochs; undoes an epoch whose loss is NaN.

    Args:
        stepped: A function that is called after each step.
    """

    def __init__(self, stepped):
        super().__init__()
        self._stepped = stepped

    def on_train_batch_end(self, batch, logs=None):
        self._stepped()

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        # A LossScaleOptimizer would begin anew (Keras 3.15).
        if optimizer.built:
            return
        with strategy_scope(self.model):
            optimizer.build(self.model.trainable_variables)

    def on_epoch_begin(self, epoch, logs=None):
        self.model.solver.begin_epoch(self.model, epoch)
        self._good = self._values()

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if np.isfinite(loss) and all(
            np.isfinite(ops.convert_to_numpy(v)).all()
            for v in self.model.trainable_variables
        ):
            return
        for variable, value in zip(self._variables(), self._good, strict=True):
            variable.assign(value)
        self.model.stop_training = True
        warnings.warn(
            f"The loss of epoch {epoch + 1} is not finite: training stops, "
            "with the weights that the epoch began with. "
            f"Received: loss={loss}",
            stacklevel=2,
        )

    def on_train_end(self, logs=None):
        self.model.solver.finish(self.model)

    def _variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def _values(self):
        return [ops.convert_to_numpy(v) for v in self._variables()]
