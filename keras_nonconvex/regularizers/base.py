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

# The two parts of a regularizer that variable splitting treats apart: the one
# on groups and the one on single weights. Either may be None.
Terms = collections.namedtuple("Terms", "group elementwise")


class Regularizer(keras.regularizers.Regularizer):
    """strength * something, on a kernel.

    Subclasses state `value` and, unless `has_prox` is False, `magnitude_prox`.
    A `ProximalModel` trains those without a prox by their gradient, as any
    Keras model does.

    Args:
        strength: Number >= 0.
    """

    has_prox = True
    # Whether `proximal` is the exact minimiser, or only lowers the objective.
    exact = True
    # Whether it shrinks what survives, as a weight decay does.
    decays = False
    # The arguments that a schedule of the strength multiplies.
    strengths = ("strength",)

    def __init_subclass__(cls, abstract=False, **kwargs):
        super().__init_subclass__(**kwargs)
        if not abstract:
            keras.saving.register_keras_serializable("keras_nonconvex")(cls)
            REGISTRY[cls.__name__] = cls

    def __init__(self, strength):
        self.strength = checks.number("strength", strength)

    def __call__(self, x):
        x = in_full_precision(x)
        treatment = scope.treatment()
        return treatment(self, x) if treatment else self.value(x)

    def scaled(self, multiplier):
        """The same with its strengths times a number or a scalar tensor."""
        scaled = copy.copy(self)
        for name in self.strengths:
            strength = getattr(self, name)
            if strength is not None:
                setattr(scaled, name, strength * multiplier)
        scaled.__dict__.pop("terms", None)  # Those of the other strengths.
        return scaled

    def value(self, w):
        """The loss term of a kernel `w`: a scalar."""
        raise NotImplementedError

    def proximal(self, w, step):
        """argmin_x step * value(x) + ||x - w||^2 / 2, in the shape of `w`.

        Args:
            w: The kernel. 16-bit floats are computed in float32.
            step: A number >= 0, or one number per group in a shape that
                broadcasts to `w`. Where `group_axes` is empty also one per
                weight.
        """
        if not self.has_prox:
            raise NotImplementedError(
                f"{self!r} has no prox: train it by its gradient. A "
                "ProximalModel does so by itself."
            )
        if isinstance(step, (int, float)):
            checks.number("step", step)
        w = ops.convert_to_tensor(w)
        if not keras.backend.is_float_dtype(w.dtype):
            w = ops.cast(w, "float32")
        dtype = keras.backend.standardize_dtype(w.dtype)
        w = in_full_precision(w)
        magnitude = self.magnitude_prox(
            ops.abs(w), ops.convert_to_tensor(step, w.dtype)
        )
        return ops.cast(ops.sign(w) * magnitude, dtype)

    def magnitude_prox(self, t, step):
        """`proximal` on magnitudes; every regularizer here is even."""
        raise NotImplementedError

    def group_axes(self, rank):
        """The axes that share one step: a group's, () for single weights."""
        return ()

    def floor(self, total):
        """How many of `total` groups no half-space step shall go below."""
        return 1

    def half_space_limit(self, w, step):
        """The largest epsilon of a half-space step that healthy groups pass.

        A group that the prox with `step` merely shrinks must keep
        <new, old> / ||old||^2 above it.
        """
        return 1.0

    @property
    def terms(self):
        """`Terms(group, elementwise)`: two regularizers that add up to this.

        Variable splitting needs them apart.
        """
        return Terms(self, None)

    def for_layout(self, rank, layout):
        """The same, for a kernel with another layout than Dense's."""
        groups = getattr(self, "groups", None)
        if groups is None:
            return self
        needed = group_patterns.in_layout(groups, rank, layout)
        if needed == groups:
            return self
        return type(self).from_config({**self.get_config(), "groups": needed})

    def get_config(self):
        return {"strength": self.strength}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"
