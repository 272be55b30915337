"""What a regularizer of this package is, and the registry of all of them."""

import collections
import copy

import keras
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import group_patterns
from keras_nonconvex.regularizers import scope
from keras_nonconvex.tensors import in_full_precision

REGISTRY = {}


class Terms(collections.namedtuple("Terms", "group elementwise")):
    """The two parts of a regularizer, which `VariableSplitting` treats apart.

    Args:
        group: The regularizer of the groups, or None.
        elementwise: The regularizer of the single weights, or None.
    """


class Regularizer(keras.regularizers.Regularizer):
    """A Keras regularizer that also has a prox.

    strength * f(kernel) + decay / 2 * ||kernel||_2^2

    Subclasses state `plain_value` and, unless `has_prox` is False,
    `magnitude_prox`: those of strength * f alone. A `ProximalModel` trains
    those without a prox by their gradient, as any Keras model does.

    Args:
        strength: Number >= 0, the factor of f.
        decay: Number >= 0, the weight decay beside f. Schedules and solvers
            that multiply the strength leave it as it is. Defaults to `0.0`.
    """

    has_prox = True
    # Whether `proximal` is the exact minimiser; otherwise it just never raises
    # the objective.
    exact = True
    # Whether `proximal` has its own parts compiled (`backends.compiled`), so
    # that a solver need not.
    compiles = False
    # Whether it fixes how many groups stay.
    counts = False
    # The arguments that a schedule multiplies.
    strengths = ("strength",)

    def __init_subclass__(cls, abstract=False, **kwargs):
        super().__init_subclass__(**kwargs)
        if not abstract:
            keras.saving.register_keras_serializable("keras_nonconvex")(cls)
            REGISTRY[cls.__name__] = cls

    def __init__(self, strength, decay=0.0):
        self.strength = checks.number("strength", strength)
        self.decay = checks.number("decay", decay)

    def __call__(self, x):
        x = in_full_precision(x)
        treatment = scope.treatment()
        return treatment(self, x) if treatment else self.value(x)

    def scaled(self, multiplier):
        """Returns a copy with all strengths times a number or scalar tensor."""
        return self._with(
            **{
                name: getattr(self, name) * multiplier
                for name in self.strengths
                if getattr(self, name) is not None
            }
        )

    def at(self, strength, spare):
        """Returns a copy as it is at a moment of training.

        Args:
            strength: The multiplier of all strengths, a number or scalar
                tensor; `StrengthSchedule` changes it.
            spare: The share of what a penalty with a count would remove that
                may still stay, likewise; `CountSchedule` changes it.
        """
        return self.scaled(strength)

    def _with(self, **arguments):
        changed = copy.copy(self)
        vars(changed).update(arguments)
        # Those of the other arguments.
        vars(changed).pop("terms", None)
        return changed

    def value(self, w):
        """The loss term of a kernel: a scalar.

        Args:
            w: Tensor, the kernel, in float32 or float64.
        """
        value = self.plain_value(w)
        if self.decay:
            value = value + self.decay / 2.0 * ops.sum(ops.square(w))
        return value

    def plain_value(self, w):
        """`value` without the decay.

        Args:
            w: As for `value`.
        """
        raise NotImplementedError

    def proximal(self, w, step):
        """argmin_x step * value(x) + ||x - w||^2 / 2, in the shape of `w`.

        Args:
            w: Tensor, the kernel. 16-bit floats are computed in float32.
            step: Number >= 0; or a tensor with one number per group that
                broadcasts to `w`, or with one per weight where `group_axes`
                is empty.
        """
        if not self.has_prox:
            raise NotImplementedError(
                f"{type(self).__name__} has no prox; a ProximalModel trains it "
                f"by its gradient. Received: regularizer={self!r}"
            )
        if isinstance(step, (int, float)):
            checks.number("step", step)
        w = ops.convert_to_tensor(w)
        if not keras.backend.is_float_dtype(w.dtype):
            w = ops.cast(w, "float32")
        dtype = keras.backend.standardize_dtype(w.dtype)
        w = in_full_precision(w)
        t, step = ops.abs(w), ops.convert_to_tensor(step, w.dtype)
        if self.decay:
            # With the decay mu completed to a square, the prox of s f + mu s
            # / 2 ||.||^2 at t is that of s / (1 + mu s) f at t / (1 + mu s).
            growth = 1.0 + self.decay * step
            # A quotient by 1 + mu s would lose the digits of a small mu s.
            t = t - t * (self.decay * step / growth)
            step = step / growth
        magnitude = self.magnitude_prox(t, step)
        return ops.cast(ops.sign(w) * magnitude, dtype)

    def magnitude_prox(self, t, step):
        """`proximal` on magnitudes and without the decay.

        The signs of `w` play no part.

        Args:
            t: Tensor of magnitudes >= 0, in float32 or float64.
            step: Tensor >= 0 that broadcasts to `t`.
        """
        raise NotImplementedError

    def group_axes(self, rank):
        """The axes of a kernel that one group spans; () for single weights.

        Args:
            rank: Integer, the number of axes of the kernel.
        """
        return ()

    def of_columns(self):
        """The same for matrices whose columns are the groups, or None.

        A solver then takes the groups of several kernels at once. None where
        the term of a group depends on more than the weights in it.
        """

    def floor(self, total):
        """How many of `total` groups a half-space step must leave."""
        return 1

    def last(self, w):
        """The kernel that training ends with, or None: as it is.

        Args:
            w: Tensor, the kernel.
        """

    def half_space_limit(self, w, step):
        """The largest epsilon with which a half-space step spares groups.

        A group that the prox with `step` merely shrinks must not be projected
        to zero, so its <new, old> / ||old||^2 must stay above epsilon.
        """
        return 0.95 / (1.0 + step * self.decay) if self.decay else 1.0

    @property
    def decays(self):
        """Whether it shrinks the groups that stay, as a weight decay does."""
        return self.decay > 0.0

    @property
    def terms(self):
        """`Terms(group, elementwise)`: two regularizers whose sum this is.

        `VariableSplitting` treats the two apart.
        """
        return Terms(self, None)

    def for_layout(self, rank, layout):
        """Returns the same regularizer for a kernel laid out in another way.

        Args:
            rank: Integer, the number of axes of the kernel.
            layout: A `group_patterns.Layout`.
        """
        groups = getattr(self, "groups", None)
        if groups is None:
            return self
        needed = group_patterns.in_layout(groups, rank, layout)
        if needed == groups:
            return self
        return type(self).from_config({**self.get_config(), "groups": needed})

    def for_layer(self, layer):
        """Returns the same regularizer, told the layer that it acts on.

        Most do not need to know: the kernel is enough. A `ProximalModel`
        calls it when it is compiled.

        Args:
            layer: A built layer.
        """
        return self

    def get_config(self):
        config = {"strength": self.strength}
        # A subclass of a user may have no such argument.
        return {**config, "decay": self.decay} if self.decay else config

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    # Regularizers are values: equal ones share what is compiled for them.

    def __eq__(self, other):
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self):
        return hash((type(self), self._key()))

    def _key(self):
        """Its arguments; one that has no hash equals itself alone."""
        return tuple(
            (name, argument if _has_hash(argument) else id(argument))
            for name, argument in sorted(vars(self).items())
            if name != "terms"
        )

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"


def _has_hash(argument):
    try:
        hash(argument)
    except TypeError:
        return False
    return True
