"""What penalties of coupled channels share."""

import numpy as np
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.pruning import costs
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.solvers import half_space
from keras_nonconvex.tensors import divisor
from keras_nonconvex.training.coupled.classes import OWN
from keras_nonconvex.training.coupled.classes import Classes

_COSTS = ("macs", "params")


class Coupled:
    """A penalty of the norms of classes of coupled channels: the base.

    A subclass states `_term`: a regularizer of the vector of these norms.
    Everything else is the same for all: the value is the term's, and the prox
    multiplies each class by what the term's prox leaves of its norm.

    Attributes:
        classes: The `Classes`.
        variables: The trainable variables that hold their weights.
        count: The number of classes.

    Args:
        model: A built model; or None, which comes from a saved config:
            `compile` binds the model later.
        strength: A number >= 0.
        consumers: As in `CoupledGroups`. Defaults to `False`.
        group_weights: As in `CoupledGroups`. Defaults to `"sqrt_size"`.
        decay: As in `CoupledGroups`. Defaults to `0.0`.
    """

    def __init__(
        self,
        model,
        strength,
        consumers=False,
        group_weights="sqrt_size",
        decay=0.0,
    ):
        self.strength = checks.number("strength", strength)
        self.consumers = bool(consumers)
        self.group_weights = group_patterns.check_weights(
            group_weights, ("sqrt_size", *_COSTS)
        )
        self.decay = checks.number("decay", decay)
        if model is not None:
            self._follow(model)

    def _arguments(self):
        """The arguments of the constructor, but for the model."""
        return {
            "strength": self.strength,
            "consumers": self.consumers,
            "group_weights": self.group_weights,
            "decay": self.decay,
        }

    def _term(self, weights):
        """A regularizer of the vector of the classes' norms.

        Args:
            weights: The weight s_c of each class, an array.
        """
        raise NotImplementedError

    def _trace(self, model):
        return Trace(model)

    def _roots(self, trace):
        """The roots of the classes that are penalised."""
        trained = np.zeros(len(trace), bool)
        for use in trace.of_role(*OWN):
            trained[trace.root_of[use.ids]] |= use.variable.trainable
        return np.flatnonzero(trace.free & trained)

    def bound(self, model):
        """The same for another model of the same kind.

        `compile` calls it with its own model.

        Args:
            model: A built model.
        """
        return type(self)(model, **self._arguments())

    def _follow(self, model):
        trace = self._trace(model)
        roots = self._roots(trace)
        if not len(roots):
            raise ValueError(
                "Argument `model` has no channels that could go, or no "
                "trainable weights that make them. "
                f"Received: model={trace.model.name!r}"
            )
        self.classes = Classes(trace, roots, self.consumers)
        self.variables = self.classes.variables
        self.count = self.classes.count
        self.term = self._term(self._weights(trace, roots))

    def _weights(self, trace, roots):
        sizes = self.classes.sizes
        if self.group_weights is None:
            return np.ones_like(sizes)
        if self.group_weights == "sqrt_size":
            return np.sqrt(sizes)
        if self.group_weights in _COSTS:
            saved = costs.savings(trace, self.group_weights)[roots]
            return np.sqrt(sizes) * (saved / saved.mean())
        weights = np.array(self.group_weights)
        if weights.shape != sizes.shape:
            raise ValueError(
                "Argument `group_weights` must have one number per class of "
                f"channels, here {len(sizes)}. "
                f"Received: group_weights with {len(weights)} numbers"
            )
        return weights

    @property
    def decays(self):
        """Whether it shrinks the classes that stay, as a weight decay does."""
        return self.term.decays

    def norms(self, values):
        """The l2 norm of each class.

        Args:
            values: A list with one tensor for each of `variables`.

        Returns:
            A tensor of shape (number of classes,).
        """
        return ops.sqrt(self.classes.products(values, values))

    def value(self, values, multiplier=1.0, spare=0.0):
        """The loss term, a scalar.

        Args:
            values: A list with one tensor for each of `variables`.
            multiplier: A number or scalar tensor, a factor on the strength.
                Defaults to `1.0`.
            spare: A number or scalar tensor, as for `Regularizer.at`.
                Defaults to `0.0`.
        """
        norms = self.norms(values)
        return self._at(multiplier, spare, norms).value(norms)

    def proximal(self, values, step, multiplier=1.0, spare=0.0):
        """The prox of the loss term.

        Args:
            values: A list with one tensor for each of `variables`.
            step: A number >= 0, or a tensor with one number per class.
            multiplier: A number or scalar tensor, a factor on the strength.
                Defaults to `1.0`.
            spare: As in `value`. Defaults to `0.0`.

        Returns:
            A list of tensors in the shapes of `values`.
        """
        norms = self.norms(values)
        shrunk = self._at(multiplier, spare, norms).proximal(norms, step)
        return self.classes.times(values, shrunk / divisor(norms))

    def held(self, points, old, turned):
        """`points` with the classes zero that were so, as `half_space.held`.

        Args:
            points: The values after the update, where the prox is taken.
            old: The values before.
            turned: As in `half_space`.
        """
        was = self.classes.products(old, old) > 0
        lives = ops.logical_or(ops.logical_not(turned), was)
        return self.classes.times(points, ops.cast(lives, "float32"))

    def half_space(
        self,
        new,
        old,
        step,
        multiplier,
        spare,
        turned,
        epsilon,
        keep,
        revive=False,
    ):
        """`new` with the classes zero that die, where `turned` is true.

        Args:
            new: The values after the update and its prox, a list with one
                tensor for each of `variables`.
            old: The values before, likewise.
            step: The step of the prox, as in `proximal`.
            multiplier, spare: As in `proximal`.
            turned: Whether the half-space step is taken at all, a tensor.
            epsilon: A number in [0, 1).
            keep: How many classes stay at least, as in `ProximalGradient`.
            revive: Whether classes that were zero may live again. Defaults to
                `False`.
        """
        products = self.classes.products
        square = products(new, new)
        term = self._at(multiplier, spare, square)
        if keep is None:
            keep = self.floor(term)
        else:
            keep = int(group_patterns.count_of(keep, self.count))
        lives = half_space.standing(
            products(new, old),
            products(old, old),
            square,
            term.half_space_limit(ops.sqrt(square), step),
            epsilon,
            keep,
            revive,
        )
        lives = ops.logical_or(ops.logical_not(turned), lives)
        return self.classes.times(new, ops.cast(lives, square.dtype))

    def floor(self, term):
        """How many classes a half-space step leaves at least.

        Args:
            term: The term at this moment of training.
        """
        return term.floor(self.count)

    def last(self, values):
        """The values that training ends with, or None: as they are.

        Args:
            values: A list with one tensor for each of `variables`.
        """
        return self.applied(self.term.last, values)

    def applied(self, function, values):
        """The values with the classes zero whose norm a function makes zero.

        Args:
            function: Of the classes' norms; it may return None.
            values: A list with one tensor for each of `variables`.

        Returns:
            A list of tensors in the shapes of `values`, or None.
        """
        left = function(self.norms(values))
        if left is None:
            return None
        return self.classes.times(values, ops.cast(left > 0, left.dtype))

    def _at(self, multiplier, spare, like):
        moment = (ops.cast(v, like.dtype) for v in (multiplier, spare))
        return self.term.at(*moment)

    def get_config(self):
        return self._arguments()

    @classmethod
    def from_config(cls, config):
        return cls(None, **config)

    def _in_words(self):
        """The arguments as `repr` shows them."""
        return self._arguments()

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self._in_words().items())
        return f"{type(self).__name__}({config})"
