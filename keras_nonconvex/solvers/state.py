"""What a solver changes in training, beside the model's weights."""

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
        return self.tensors[name, id(variable)]

    def load_own_variables(self, store):
        # A file that was saved before `compile` has nothing to say here.
        if len(store.keys()):
            super().load_own_variables(store)


def read(variable):
    """The value that a variable has now, also after it changes.

    On TensorFlow the conversion to a tensor alone is the live variable.
    """
    return ops.copy(ops.convert_to_tensor(variable))
