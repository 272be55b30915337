"""What a solver changes in training, beside the model's weights."""

import warnings

import keras
from keras import ops


class State(keras.layers.Layer):
    """Scalars, and tensors in the shapes of weights. Saved with the model.

    They are non-trainable variables: a compiled function sees their changes,
    and a Python number would be a constant in it. They are no weights of the
    model, so `get_weights` and its files stay those of any Keras model.
    """

    def __init__(self):
        super().__init__(name="solver_state", dtype="float32")
        self.strength = self.scalar("strength", 1.0)
        self.tensors = {}

    def scalar(self, name, value=0.0):
        """A new scalar variable."""
        return self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            name=name,
        )

    def add_like(self, name, variables):
        """New variables `name`, one for each of `variables`, all zero."""
        for variable in variables:
            self.tensors[name, id(variable)] = self.add_weight(
                shape=variable.shape,
                dtype=variable.dtype,
                initializer="zeros",
                trainable=False,
                autocast=False,
                name=name,
            )

    def like(self, name, variable):
        """The variable `name` that belongs to `variable`."""
        if (name, id(variable)) not in self.tensors:
            raise ValueError(
                "This weight was not trained or not there when the model was "
                "compiled: compile it again. "
                f"Received: weight {variable.path!r}"
            )
        return self.tensors[name, id(variable)]

    def load_own_variables(self, store):
        # A file that was saved before `compile` has nothing to say here.
        if not len(store.keys()):
            return
        mine = [tuple(v.shape) for v in self.weights]
        theirs = [tuple(store[str(i)].shape) for i in range(len(store.keys()))]
        if mine != theirs:
            warnings.warn(
                "The file was saved with another solver or other penalties: "
                "the weights are loaded, the solver starts anew.",
                stacklevel=2,
            )
            return
        super().load_own_variables(store)


def read(variable):
    """The value that a variable has now, also after it changes.

    On TensorFlow the conversion to a tensor alone is the live variable.
    """
    return ops.copy(ops.convert_to_tensor(variable))
