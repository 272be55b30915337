"""The call at hand of a walk: its arguments, and what is noted of it."""

import contextlib

import keras
import numpy as np
from keras import tree

from keras_nonconvex.pruning.channels.space import ChannelSpace


def key_of(call):
    """What a call is known by: the same layer may be called several times."""
    return id(call.node), call.path


class CallAtHand(ChannelSpace):
    """Channel ids, and one call after the other. `Walk` says what is what.

    Args:
        chosen: As in `Walk`. Defaults to `None`.
    """

    def __init__(self, chosen=None):
        super().__init__()
        self.picks = {}
        self.choices = {}
        self.arrays = {}
        self._chosen = chosen or {}

    def enter(self, call):
        """Goes on to the next call. For the pass itself, not for rules.

        Args:
            call: A `keras_nonconvex.graph.Call`.
        """
        self.call = call
        self.key = key_of(call)
        self.shapes = [tuple(t.shape) for t in call.outputs]
        self.given = list(call.node.arguments.keras_tensors)

    def chosen(self, axes):
        """The axis that has channels, where a call hands them to several.

        Args:
            axes: The axes that it hands them to, a list.

        Returns:
            An axis of the list, or None if none was chosen before.
        """
        if len(axes) > 1:
            self.choices[self.key] = axes
        axis = self._chosen.get(self.key)
        return axis if axis in axes else None

    def pick(self, pick, call=None):
        """Says that a call chooses among the channels of a tensor.

        Args:
            pick: A `Pick`.
            call: The call, a later one perhaps. Defaults to `None`: the call
                at hand.
        """
        self.picks[key_of(call or self.call)] = pick

    def cut_arrays(self, out):
        """Says that constant arrays among the arguments have channels.

        They are cut as the output is: `ops.add(x, array)`.

        Args:
            out: The output, a `Tensor`. The arrays are aligned with its last
                axes.
        """
        for i, leaf in enumerate(self.arguments):
            if isinstance(leaf, keras.KerasTensor):
                continue
            for axis, size in enumerate(np.shape(leaf)[::-1], start=1):
                if size == 1 or out.axes[-axis] is None:
                    continue
                if isinstance(leaf, keras.Variable):
                    name = self.call.operation.name
                    self.freeze(out.axes[-axis], f"'{name}' joins a weight")
                else:
                    self.cut_array(i, -axis, out.axes[-axis])

    def cut_array(self, place, axis, ids):
        """Says that an axis of a constant array is indexed by channels.

        Args:
            place: Which of `arguments` the array is, an int.
            axis: The axis of the array, an int.
            ids: One id per index of the axis.
        """
        self.arrays.setdefault(self.key, {})[place, axis] = ids

    @property
    def arguments(self):
        """All arguments of the call at hand, a flat list."""
        arguments = self.call.node.arguments
        return tree.flatten((arguments.args, arguments.kwargs))

    def argument(self, position, key=None):
        """An argument of the call at hand.

        Args:
            position: Its place among the positional arguments.
            key: Its name. Defaults to `None`: positional only.

        Returns:
            The argument as it was given, None if it was not.
        """
        arguments = self.call.node.arguments
        if key in arguments.kwargs:
            return arguments.kwargs[key]
        args = arguments.args
        return args[position] if position < len(args) else None

    @contextlib.contextmanager
    def without_time(self):
        """A scope in which `shapes` have no second axis: inside a wrapper."""
        full = self.shapes
        self.shapes = [shape[:1] + shape[2:] for shape in full]
        try:
            yield
        finally:
            self.shapes = full
