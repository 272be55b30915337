"""Coupled groups: one group per class of channels, across layers."""

import collections

import keras
import numpy as np
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import penalties
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.regularizers import lookup
from keras_nonconvex.tensors import divisor
from keras_nonconvex.tensors import in_full_precision

# Indices along an axis of a variable, and the group of each; the number of
# groups stands for none.
Part = collections.namedtuple("Part", "variable axis groups")

_OWN = ("filter", "bias", "scale", "shift")


@keras.saving.register_keras_serializable("keras_nonconvex")
class CoupledGroups:
    """strength * sum_c s_c r(||w_c||) over the classes c of coupled channels.

    w_c are all weights that must go together when a channel is removed: the
    filters, biases and normalization scales and shifts of every layer whose
    channel is tied to it by residual sums; s_c = sqrt(size of w_c). The prox
    is that of a group, across layers, so whole classes become exactly zero,
    which penalties of single layers cannot do in residual networks.

    With `consumers=True` a group also has the slices of the kernels that read
    the channel (out-in-channel groups; Li et al., OICSR, 2019). A weight is
    then in two groups, and shrinks by both factors. This is approximate: as
    long as no group becomes zero, the error falls with the square of the step.

    Weights in coupled groups cannot have a prox of their own too.

    Args:
        model: A built model, the one whose `compile`
            gets these groups.
        penalty: The scalar penalty r, an instance such as
            `knc.penalties.L1()`.
        strength: A number >= 0, the factor on the penalty in the loss.
        consumers: True or False, whether the kernel slices that read a
            channel belong to its group. Defaults to `False`.
        group_weights: `"sqrt_size"` for s_c as above, or None for s_c = 1.
            Defaults to `"sqrt_size"`.

    Example:
    ```python
    groups = knc.CoupledGroups(model, knc.penalties.TransformedL1(), 1e-3)
    model.compile("sgd", "mse", coupled=groups)
    ```
    """

    def __init__(
        self,
        model,
        penalty,
        strength,
        consumers=False,
        group_weights="sqrt_size",
    ):
        if not isinstance(penalty, penalties.Penalty):
            raise ValueError(
                "Argument `penalty` of CoupledGroups must be a scalar penalty "
                "of `keras_nonconvex.penalties`. "
                f"Received: penalty={penalty!r}"
            )
        self.penalty = penalty
        self.strength = checks.number("strength", strength)
        self.consumers = bool(consumers)
        self.group_weights = checks.choice(
            "group_weights", group_weights, ["sqrt_size", None]
        )
        self.parts = []
        # None comes from a saved config; `compile` binds the model later.
        if model is not None:
            self._follow(model)

    def bound(self, model):
        """These groups for another model of the same kind.

        `compile` calls it with its own model.

        Args:
            model: A built model.
        """
        config = {**self.get_config(), "penalty": self.penalty}
        return type(self)(model, **config)

    def _follow(self, model):
        trace = Trace(model)
        classes = np.flatnonzero(trace.free)
        if not len(classes):
            raise ValueError(
                "Argument `model` has no channels that could go. "
                f"Received: model={trace.model.name!r}"
            )
        group_of = np.full(len(trace), len(classes))
        group_of[classes] = np.arange(len(classes))
        uses = trace.of_role(*_OWN)
        if self.consumers:
            uses += trace.of_role("input", "inner")
        self.count = len(classes)
        self.parts = [
            Part(use.variable, use.axis, group_of[trace.root_of[use.ids]])
            for use in uses
            if use.variable.trainable
            and (group_of[trace.root_of[use.ids]] < len(classes)).any()
        ]
        if not self.parts:
            raise ValueError(
                "Argument `model` has no trainable weights that make channels. "
                f"Received: model={trace.model.name!r}"
            )
        self.variables = list(
            {id(p.variable): p.variable for p in self.parts}.values()
        )
        self._places = {id(v): i for i, v in enumerate(self.variables)}
        self._sizes = self._totals(
            [np.ones(tuple(v.shape), "float32") for v in self.variables]
        )
        self._sizes = np.maximum(ops.convert_to_numpy(self._sizes), 1.0)

    def _totals(self, values):
        """The sum of values over each group: one number per group."""
        sums = [
            ops.sum(
                values[self._places[id(part.variable)]],
                axis=tuple(
                    i for i in range(len(part.variable.shape)) if i != part.axis
                ),
            )
            for part in self.parts
        ]
        groups = np.concatenate([part.groups for part in self.parts])
        return ops.segment_sum(
            ops.concatenate(sums),
            ops.convert_to_tensor(groups.astype("int32")),
            num_segments=self.count + 1,
        )[: self.count]

    def _strengths(self, multiplier):
        weights = 1.0
        if self.group_weights == "sqrt_size":
            weights = np.sqrt(self._sizes)
        return multiplier * self.strength * weights

    def norms(self, values):
        """The l2 norm of each group.

        Args:
            values: A list with one tensor for each of `variables`.

        Returns:
            A tensor of shape (number of groups,).
        """
        values = [in_full_precision(v) for v in values]
        return ops.sqrt(self._totals([v * v for v in values]))

    def value(self, values, multiplier=1.0):
        """The loss term, a scalar.

        Args:
            values: A list with one tensor for each of `variables`.
            multiplier: A number or scalar tensor, a factor on the strength.
                Defaults to `1.0`.
        """
        norms = self.norms(values)
        strengths = ops.cast(self._strengths(multiplier), norms.dtype)
        penalty = self.penalty.at(strengths)
        return ops.sum(strengths * penalty.value(norms))

    def proximal(self, values, step, multiplier=1.0):
        """The prox of the loss term.

        Args:
            values: A list with one tensor for each of `variables`.
            step: A number >= 0, or a tensor with one number per group.
            multiplier: A number or scalar tensor, a factor on the strength.
                Defaults to `1.0`.

        Returns:
            A list of tensors in the shapes of `values`.
        """
        norms = self.norms(values)
        strengths = ops.cast(self._strengths(multiplier), norms.dtype)
        penalty = self.penalty.at(strengths)
        shrunk = penalty.prox(norms, step * strengths)
        factors = shrunk / divisor(norms)
        return self._times(values, factors, self.parts)

    def _times(self, values, factors, parts):
        """The values, multiplied by the factors of their groups.

        A value is multiplied once for each of `parts` that it has.
        """
        factors = ops.concatenate([factors, ops.ones((1,), factors.dtype)])
        products = list(values)
        for part in parts:
            place = self._places[id(part.variable)]
            shape = [1] * len(part.variable.shape)
            shape[part.axis] = -1
            factor = ops.reshape(
                ops.take(factors, part.groups.astype("int32")), shape
            )
            value = products[place]
            products[place] = value * ops.cast(factor, value.dtype)
        return products

    def points_and_steps(self, before, now, metrics):
        """Where the prox is taken in an adaptive optimizer's metric.

        A group has one step, the inverse of its mean metric, and moves along
        the optimizer's direction with that step: see `solvers.step_size`.

        Args:
            before: The values before the update, a list with one tensor for
                each of `variables`.
            now: The values after the update, likewise.
            metrics: The metric of each weight, tensors of the same shapes.

        Returns:
            (points, steps): a list of tensors in the shapes of `now`, and a
            tensor of shape (number of groups,).
        """
        metrics = [in_full_precision(m) for m in metrics]
        steps = self._sizes / self._totals(metrics)
        # With consumers, a weight moves with the group that it makes.
        own = list({id(p.variable): p for p in self.parts[::-1]}.values())
        stretches = self._times(metrics, steps, own)
        finite = [
            ops.where(ops.isfinite(s), s, ops.ones_like(s)) for s in stretches
        ]
        points = [
            old + (new - old) * ops.cast(stretch, new.dtype)
            for old, new, stretch in zip(before, now, finite, strict=True)
        ]
        return points, steps

    def get_config(self):
        return {
            "penalty": {
                "class_name": type(self.penalty).__name__,
                "config": self.penalty.get_config(),
            },
            "strength": self.strength,
            "consumers": self.consumers,
            "group_weights": self.group_weights,
        }

    @classmethod
    def from_config(cls, config):
        penalty = lookup.penalty(config["penalty"])
        return cls(None, **{**config, "penalty": penalty})

    def __repr__(self):
        return (
            f"CoupledGroups({self.penalty!r}, strength={self.strength}, "
            f"consumers={self.consumers})"
        )
