"""`CoupledGroups`: a scalar penalty of each class of coupled channels."""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import penalties
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.regularizers import Regularizer
from keras_nonconvex.regularizers import lookup
from keras_nonconvex.training.coupled.base import Coupled


@keras.saving.register_keras_serializable("keras_nonconvex")
class CoupledGroups(Coupled):
    """strength * sum_c s_c sqrt(n_c) r(||w_c|| / sqrt(n_c)) over the classes c.

    w_c are all n_c weights that must go together when a channel is removed:
    the filters, biases and normalization scales and shifts of every layer
    whose channel is tied to it by residual sums. The prox is that of a group,
    across layers, so whole classes become exactly zero, which penalties of
    single layers cannot do in residual networks.

    r sees the root mean square of a class, so the knees of TL1, MCP and SCAD
    are sizes of single weights, whatever the size of the class. For L1 this
    is the group lasso, strength * sum_c s_c ||w_c||.

    With `plan` only the classes that the plan drops are penalised. Trained
    until they are zero (`callbacks.TargetSparsity(1.0, of="groups",
    mode="grow")`), `plan.apply(model)` removes exactly these.

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
        group_weights: The s_c. `"sqrt_size"` is sqrt(n_c); `"macs"` and
            `"params"` are sqrt(n_c) times what removing the class saves of
            these, in units of the mean over all classes; None is 1; or a
            sequence of numbers above 0, one per class in the order of their
            roots in the channel graph. Defaults to `"sqrt_size"`.
        decay: A number >= 0, the factor of an added ||w_c||^2 / 2 of all
            groups, as for `Group`. Defaults to `0.0`.
        plan: A `PruningPlan` for this model: the classes that it drops are
            the groups. None means all classes that can go. Defaults to
            `None`.

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
        decay=0.0,
        plan=None,
    ):
        if not isinstance(penalty, penalties.Penalty):
            raise ValueError(
                "Argument `penalty` of CoupledGroups must be a scalar penalty "
                "of `keras_nonconvex.penalties`. "
                f"Received: penalty={penalty!r}"
            )
        if plan is not None and not isinstance(plan, PruningPlan):
            raise ValueError(
                "Argument `plan` must be what knc.pruning.plan returns. "
                f"Received: plan={plan!r}"
            )
        self.penalty = penalty
        self.plan = plan
        super().__init__(model, strength, consumers, group_weights, decay)

    def _arguments(self):
        first = {"penalty": self.penalty}
        return {**first, **super()._arguments(), "plan": self.plan}

    def _trace(self, model):
        return Trace(model, self.plan is not None and self.plan.select)

    def _roots(self, trace):
        if self.plan is None:
            return super()._roots(trace)
        dropped = np.flatnonzero(trace.free & ~self.plan.kept(trace))
        stuck = np.setdiff1d(dropped, super()._roots(trace))
        if len(stuck) or not len(dropped):
            raise ValueError(
                "Argument `plan` must drop channels, of weights that train. "
                f"Received: plan for {self.plan.model!r} that drops "
                f"{len(dropped)} classes of channels, {len(stuck)} of them "
                "without a trainable weight"
            )
        return dropped

    def _term(self, weights):
        return _ClassPenalty(
            self.penalty, self.strength, self.classes.sizes, weights, self.decay
        )

    def floor(self, term):
        # All that a plan drops may go.
        return 1 if self.plan is None else 0

    def get_config(self):
        penalty = {
            "class_name": type(self.penalty).__name__,
            "config": self.penalty.get_config(),
        }
        plan = self.plan and self.plan.to_json()
        return {**super().get_config(), "penalty": penalty, "plan": plan}

    @classmethod
    def from_config(cls, config):
        config = {**config, "penalty": lookup.penalty(config["penalty"])}
        if config.get("plan"):
            config["plan"] = PruningPlan.from_json(config["plan"])
        return cls(None, **config)

    def _in_words(self):
        # Plans are long.
        plan = self.plan and self.plan.headline()
        return {**self._arguments(), "plan": plan}


class _ClassPenalty(Regularizer, abstract=True):
    """The penalty of `CoupledGroups`, of the vector of the classes' norms.

    Args:
        penalty: A scalar penalty.
        strength: A number >= 0.
        sizes: The number of weights of each class, an array.
        weights: The weight of each class, an array.
        decay: A number >= 0.
    """

    def __init__(self, penalty, strength, sizes, weights, decay):
        super().__init__(strength, decay)
        self.penalty = penalty
        self.roots = np.sqrt(sizes)
        self.weights = weights

    def _of(self, norms):
        """The roots of the sizes, the strength per weight, and r with it."""
        roots = ops.cast(self.roots, norms.dtype)
        strengths = self.strength * ops.cast(self.weights, norms.dtype) / roots
        return roots, strengths, self.penalty.at(strengths)

    def plain_value(self, w):
        roots, strengths, penalty = self._of(w)
        return ops.sum(roots * roots * strengths * penalty.value(w / roots))

    def magnitude_prox(self, t, step):
        roots, strengths, penalty = self._of(t)
        return roots * penalty.prox(t / roots, step * strengths)
