"""Regularizers: strength x penalty over groups, with their exact prox.

Each is a `keras.regularizers.Regularizer`: `reg(w)` is a scalar loss term,
and a stock `keras.Model` trains with it by its subgradient. Each also has
`reg.proximal(w, step)`, which a `ProximalModel` uses to set whole groups and
single weights exactly to zero.

    Elementwise   strength sum_i r(|w_i|)
    Group         strength sum_g s_g r(||w_g||)
    SparseGroup   strength sum_i r(|w_i|) + group_strength sum_g s_g ||w_g||

with s_g = sqrt(size of g) (Yuan & Lin 2006; Bui, Park, Zhang, Qi, Xin 2021).
Weights of 16 bits are treated in float32.
"""

import difflib
import math
import re

import keras
from keras import ops

from keras_nonconvex import groups as group_patterns
from keras_nonconvex import penalties
from keras_nonconvex import scope
from keras_nonconvex import sparse_group
from keras_nonconvex.penalties import L0
from keras_nonconvex.penalties import L1
from keras_nonconvex.penalties import TransformedL1

REGISTRY = {}


class Regularizer(keras.regularizers.Regularizer):
    """Base: the value on a tensor, detached inside a proximal step."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("keras_nonconvex")(cls)
        REGISTRY[cls.__name__] = cls

    def __init__(self, penalty, strength):
        if not isinstance(penalty, penalties.Penalty):
            raise ValueError(
                f"Argument `penalty` of {type(self).__name__} must be a "
                "penalty of `keras_nonconvex.penalties`. "
                f"Received: penalty={penalty!r}"
            )
        self.penalty = penalty
        self.strength = _strength("strength", strength)

    def __call__(self, x):
        x = _in_full_precision(x)
        value = self.value(x)
        return ops.stop_gradient(value) if scope.is_proximal() else value

    def value(self, w):
        """The loss term of a kernel `w`: a scalar."""
        raise NotImplementedError

    def proximal(self, w, step):
        """argmin_x step * value(x) + ||x - w||^2 / 2, in the shape of `w`.

        Args:
            w: The kernel.
            step: A number >= 0, or one number per group in a shape that
                broadcasts to `w`. For `Elementwise` also one per weight.
        """
        dtype = keras.backend.standardize_dtype(w.dtype)
        w = _in_full_precision(w)
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

    def get_config(self):
        # A named class fixes the penalty's type and takes its parameters.
        if type(self) in (Elementwise, Group, SparseGroup):
            config = {
                "penalty": {
                    "class_name": type(self.penalty).__name__,
                    "config": self.penalty.get_config(),
                }
            }
        else:
            config = self.penalty.get_config()
        return {**config, "strength": self.strength}

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("penalty"), (str, dict)):
            config = {**config, "penalty": _penalty(config["penalty"])}
        return cls(**config)

    def __repr__(self):
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"


class Elementwise(Regularizer):
    """strength * sum_i r(|w_i|): single weights become exactly zero."""

    def value(self, w):
        return self.strength * ops.sum(self.penalty.value(ops.abs(w)))

    def magnitude_prox(self, t, step):
        return self.penalty.prox(t, step * self.strength)


class Group(Regularizer):
    """strength * sum_g s_g r(||w_g||): whole groups become exactly zero.

    Its prox acts on the norms: x_g = w_g prox_r(||w_g||) / ||w_g||.

    Args:
        penalty: A scalar penalty r.
        strength: Number >= 0.
        groups: "filters", "input_channels", "kernels", "positions", "layer",
            "weights", or a tuple of the kernel axes that a group spans.
        group_weights: "sqrt_size" for s_g = sqrt(size of g), or None for 1.
    """

    def __init__(
        self, penalty, strength, groups="filters", group_weights="sqrt_size"
    ):
        super().__init__(penalty, strength)
        self.groups = group_patterns.check(groups)
        self.group_weights = _group_weights(group_weights)

    def group_axes(self, rank):
        return group_patterns.reduced_axes(self.groups, rank)

    def _axes_and_strength(self, w, strength):
        axes = self.group_axes(len(w.shape))
        if self.group_weights == "sqrt_size":
            strength = strength * math.sqrt(group_patterns.size(w.shape, axes))
        return axes, strength

    def value(self, w):
        axes, strength = self._axes_and_strength(w, self.strength)
        norms = group_patterns.norms(w, axes)
        return strength * ops.sum(self.penalty.value(norms))

    def magnitude_prox(self, t, step):
        axes, strength = self._axes_and_strength(t, self.strength)
        norms = group_patterns.norms(t, axes)
        new_norms = self.penalty.prox(norms, step * strength)
        return t * (
            new_norms / ops.where(norms > 0, norms, ops.ones_like(norms))
        )

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "group_weights": self.group_weights,
        }


class SparseGroup(Group):
    """strength * sum_i r(|w_i|) + group_strength * sum_g s_g ||w_g||_2.

    Zeros whole groups, and single weights in the groups that stay. The prox
    is the exact joint one (`sparse_group.py`). Reference: Bui, Park, Zhang,
    Qi, Xin, Structured Sparsity of Convolutional Neural Networks via
    Nonconvex Sparse Group Regularization, 2021.

    Args:
        penalty: A scalar penalty r on the single weights.
        strength: Number >= 0, of the elementwise term.
        groups: As for `Group`.
        group_strength: Number >= 0, of the group term; `strength` if None.
        group_weights: As for `Group`.
    """

    def __init__(
        self,
        penalty,
        strength,
        groups="filters",
        group_strength=None,
        group_weights="sqrt_size",
    ):
        super().__init__(penalty, strength, groups, group_weights)
        if group_strength is not None:
            group_strength = _strength("group_strength", group_strength)
        self.group_strength = group_strength

    def _group_term(self, w):
        strength = self.group_strength
        return self._axes_and_strength(
            w, self.strength if strength is None else strength
        )

    def value(self, w):
        axes, group_strength = self._group_term(w)
        return self.strength * ops.sum(
            self.penalty.value(ops.abs(w))
        ) + group_strength * ops.sum(group_patterns.norms(w, axes))

    def magnitude_prox(self, t, step):
        axes, group_strength = self._group_term(t)
        return sparse_group.prox(
            self.penalty,
            t,
            step * self.strength,
            step * group_strength,
            axes,
        )

    def get_config(self):
        return {**super().get_config(), "group_strength": self.group_strength}


class GroupLasso(Group):
    """Group lasso: strength * sum_g s_g ||w_g||_2 (Yuan & Lin 2006)."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L1(), strength, **options)


class GroupL0(Group):
    """strength * sum_g s_g [w_g != 0]: acts through its prox alone."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L0(), strength, **options)


class GroupTL1(Group):
    """strength * sum_g s_g TL1_a(||w_g||_2)."""

    def __init__(self, strength=1e-4, a=1.0, **options):
        super().__init__(TransformedL1(a), strength, **options)


class SparseGroupL1(SparseGroup):
    """Sparse group lasso (Simon et al. 2013): L1 on weights, l2 on groups."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L1(), strength, **options)


class SparseGroupL0(SparseGroup):
    """L0 on the weights, l2 on the groups (Bui et al. 2021)."""

    def __init__(self, strength=1e-4, **options):
        super().__init__(L0(), strength, **options)


class SparseGroupTL1(SparseGroup):
    """Transformed L1 on the weights, l2 on the groups (Bui et al. 2021)."""

    def __init__(self, strength=1e-4, a=1.0, **options):
        super().__init__(TransformedL1(a), strength, **options)


def get(identifier):
    """A regularizer from a name, a config dict, or itself.

    Args:
        identifier: "SparseGroupTL1" or "sparse_group_tl1" (defaults of the
            class), `{"name": "sparse_group_tl1", "strength": 1e-4, ...}`, a
            serialized Keras object, or a regularizer.
    """
    if isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, str):
        return _lookup(REGISTRY, identifier, "regularizer")()
    if isinstance(identifier, dict) and "name" in identifier:
        options = {k: v for k, v in identifier.items() if k != "name"}
        cls = _lookup(REGISTRY, identifier["name"], "regularizer")
        try:
            return cls.from_config(options)
        except TypeError as error:
            raise ValueError(
                f"Regularizer {cls.__name__} cannot be made from its "
                f"settings ({error}). Received: {identifier!r}"
            ) from error
    return keras.regularizers.get(identifier)


def _penalty(spec):
    """A penalty from "l1", {"name": "l1", ...} or its serialized form."""
    if isinstance(spec, str):
        spec = {"name": spec}
    if "class_name" in spec:
        spec = {"name": spec["class_name"], **spec.get("config", {})}
    options = {key: value for key, value in spec.items() if key != "name"}
    cls = _lookup(penalties.REGISTRY, spec.get("name"), "penalty")
    return cls(**options)


def _lookup(registry, name, kind):
    names = {_snake(key): key for key in registry}
    known = names.get(_snake(str(name)))
    if known is None:
        near = difflib.get_close_matches(_snake(str(name)), names, 3, 0.5)
        near = ", ".join(names[key] for key in near or sorted(names))
        raise ValueError(
            f"Unknown {kind}. Near names: {near}. Received: {kind}={name!r}"
        )
    return registry[known]


def _snake(name):
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _strength(name, value):
    try:
        number = float(value)
        legal = 0.0 <= number < math.inf
    except (TypeError, ValueError):
        legal = False
    if not legal:
        raise ValueError(
            f"Argument `{name}` must be a finite number >= 0. "
            f"Received: {name}={value!r}"
        )
    return number


def _group_weights(value):
    if value not in ("sqrt_size", None):
        raise ValueError(
            "Argument `group_weights` must be 'sqrt_size' or None. "
            f"Received: group_weights={value!r}"
        )
    return value


def _in_full_precision(x):
    x = ops.convert_to_tensor(x)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return ops.cast(x, "float32") if dtype in ("float16", "bfloat16") else x
