"""`CoupledEnvelope`: k channels of the whole network stay."""

import keras

from keras_nonconvex import group_patterns
from keras_nonconvex.regularizers import GroupSparseEnvelope
from keras_nonconvex.training.coupled.base import Coupled


@keras.saving.register_keras_serializable("keras_nonconvex")
class CoupledEnvelope(Coupled):
    """The group sparse envelope over the classes of coupled channels.

    strength * min_u sum_c d_c ||w_c||^2 / (2 u_c) with 0 <= u_c <= 1 and
    sum_c u_c <= k: the largest convex function below "a weight decay where at
    most k classes are nonzero, infinity elsewhere". w_c are the weights of a
    class as in `CoupledGroups`, and d_c = s_c^2 in units of their mean, so
    with `"sqrt_size"` classes are ranked by their root mean square. At the
    end of `fit` the k classes stay that the prox itself would keep last, and
    all others are exactly zero.

    At least k classes stay in training; a half-space step
    (`ProximalGradient(half_space=...)`) leads to k of them sooner. `plan`
    then removes the zeros.

    Args:
        model: A built model, the one whose `compile` gets it.
        k: A number above 0, or a percentage of the classes such as `"50%"`:
            how many classes of the whole network stay. Defaults to `"50%"`.
        strength: A number >= 0, the factor of the envelope. Defaults to
            `1e-4`.
        debiased: True or False, whether the weight decay is subtracted, so
            that the classes that stay are not shrunk; see
            `GroupSparseEnvelope`. Defaults to `False`.
        consumers: As in `CoupledGroups`. Defaults to `False`.
        group_weights: The s_c, as in `CoupledGroups`. Defaults to
            `"sqrt_size"`.
        decay: As in `CoupledGroups`. Defaults to `0.0`.

    Example:
    ```python
    envelope = knc.CoupledEnvelope(model, "50%", 1e-2, debiased=True)
    solver = knc.solvers.ProximalGradient(half_space=0.5)
    model.compile("sgd", "mse", coupled=envelope, solver=solver)
    ```

    Reference: Refael, Arbel, Huleihel, Learning k-Level Structured Sparse
    Neural Networks Using Group Envelope Regularization, 2023.
    """

    def __init__(
        self,
        model,
        k="50%",
        strength=1e-4,
        debiased=False,
        consumers=False,
        group_weights="sqrt_size",
        decay=0.0,
    ):
        self.k = group_patterns.check_count(k)
        self.debiased = bool(debiased)
        super().__init__(model, strength, consumers, group_weights, decay)

    def _arguments(self):
        more = {"k": self.k, "debiased": self.debiased}
        return {**super()._arguments(), **more}

    def _term(self, weights):
        squares = weights.astype("float64") ** 2
        return GroupSparseEnvelope(
            self.k,
            self.strength,
            groups="weights",
            group_weights=squares / squares.mean(),
            debiased=self.debiased,
            decay=self.decay,
        )
