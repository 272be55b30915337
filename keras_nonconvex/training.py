"""`ProximalModel`: Keras' own train step, then the solver's."""

import keras

from keras_nonconvex import scope
from keras_nonconvex.solvers import ProximalGradient


class ProximalMixin:
    """Gives a Keras model a solver: `compile(..., solver=...)`.

    For Sequential and subclassed models:
    `class Mine(knc.ProximalMixin, keras.Sequential)`. Everything else of the
    model stays Keras'. The logged loss is data loss + penalty; the penalty's
    gradient is left out of the optimizer's step and its prox follows it.
    """

    solver = None

    def compile(self, *args, solver=None, **kwargs):
        """As `keras.Model.compile`.

        Args:
            *args: Passed on.
            solver: A solver of `keras_nonconvex.solvers`;
                `ProximalGradient()` if None.
            **kwargs: Passed on.
        """
        super().compile(*args, **kwargs)
        if solver is not None and not hasattr(solver, "after_update"):
            raise ValueError(
                "Argument `solver` must be a solver of "
                f"keras_nonconvex.solvers. Received: solver={solver!r}"
            )
        self.solver = solver or ProximalGradient()
        self.solver.bind(self)

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            solver = keras.saving.serialize_keras_object(self.solver)
            config = {**config, "solver": solver}
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def train_step(self, *args):
        if keras.backend.backend() == "jax":
            return self._stateless_train_step(*args)
        before = self.solver.before_update(self)
        with scope.proximal():
            logs = super().train_step(*args)
        self.solver.after_update(self, before)
        return logs

    def _stateless_train_step(self, state, data):
        # JAX: variables are values in `state`, not in the model.
        with keras.StatelessScope(self._mapping(state)):
            before = self.solver.before_update(self)
        with scope.proximal():
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

    `ProximalModel(inputs, outputs)`, then `compile` and `fit` as always.
    """
