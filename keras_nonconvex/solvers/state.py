"""What a solver changes in training, beside the model's weights."""

import warnings

import keras
from keras import ops


class State(keras.layers.Layer):
    """The variables of a solver: scalars, and tensors in weights' shapes.

    They are non-trainable variables, because a compiled function sees their
    changes, while it keeps a Python number as a constant. They are saved with
    the model, but they are not among its weights: `get_weights` returns what
    it returns for any Keras model.

    `strength` is there for every solver: the scalar that multiplies all
    strengths, 1 at first, which `StrengthSchedule` changes. `spare` is None in
    models without a penalty that fixes a count, and else what `CountSchedule`
    changes.
    """

    def __init__(self):
        super().__init__(name="solver_state", dtype="float32")
        self.scalars = {}
        self.tensors = {}
        self.strength = self.scalar("strength", 1.0)
        self.spare = None

    @property
    def moment(self):
        """What schedules have reached: the arguments of `Regularizer.at`."""
        spare = 0.0 if self.spare is None else read(self.spare)
        return read(self.strength), spare

    def scalar(self, name, value=0.0):
        """Makes a scalar variable.

        Args:
            name: Its name, for error messages and files.
            value: Its first value, a number. Defaults to `0.0`.

        Returns:
            The variable. A solver keeps it as an attribute of this state.
        """
        self.scalars[name] = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            name=name,
        )
        return self.scalars[name]

    def add_like(self, name, variables):
        """Makes one variable for each given weight, filled with zeros.

        Args:
            name: The name under which `like` finds them.
            variables: Weights of the model; each new variable has the shape
                and dtype of one of them.
        """
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
        """The variable that `add_like` made for a weight.

        Args:
            name: The name that `add_like` was given.
            variable: The weight.
        """
        if (name, id(variable)) not in self.tensors:
            raise ValueError(
                "This weight was not trained or not there when the model was "
                "compiled: compile it again. "
                f"Received: weight {variable.path!r}"
            )
        return self.tensors[name, id(variable)]

    def take_over(self, other):
        """Takes the values of another state, of the same solver and model.

        Args:
            other: A `State`. Variables that it does not have keep their value.
        """
        for mine, theirs in (
            (self.scalars, other.scalars),
            (self.tensors, other.tensors),
        ):
            for key in mine.keys() & theirs.keys():
                mine[key].assign(read(theirs[key]))

    def load_own_variables(self, store):
        # The file was saved before `compile`, without a state.
        if not len(store.keys()):
            return
        values = [store[str(i)] for i in range(len(store.keys()))]
        mine = self.weights
        if self.spare is not None and len(values) == len(mine) - 1:
            # The file is older than `spare`, which comes last.
            mine = mine[:-1]
        theirs = [tuple(value.shape) for value in values]
        if [tuple(v.shape) for v in mine] != theirs:
            warnings.warn(
                "The file was saved with another solver or other penalties: "
                "the weights are loaded, the solver starts anew.",
                stacklevel=2,
            )
            return
        for variable, value in zip(mine, values, strict=True):
            variable.assign(value)


def read(variable):
    """The value that a variable has now, also after it changes.

    On TensorFlow the conversion to a tensor alone is the live variable.
    """
    return ops.copy(ops.convert_to_tensor(variable))
