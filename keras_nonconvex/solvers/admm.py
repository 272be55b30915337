"""ADMM: training pulled towards the nearest point of a constraint."""

import keras
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import layouts
from keras_nonconvex.solvers.base import Solver
from keras_nonconvex.solvers.base import pull
from keras_nonconvex.solvers.state import read


class ADMM(Solver):
    """Minimises the loss over weights that a constraint allows.

    The optimizer follows the gradient of loss + rho / 2 ||W - Z + U||^2. At
    the start of every `every`-th epoch Z becomes the projection of W + U, and
    U becomes U + W - Z. rho grows from stage to stage; a stage starts with Z
    the projection of W, and U = 0. At the end of `fit` W itself is projected;
    retrain with the `Freeze` callback then. Penalties act by their gradient.

    While `fit` goes on, the weights are W, without exact zeros.

    Args:
        keep: What a kernel may be: `constraints.MaxNonzero(k)`, at most k
            weights; `constraints.MaxActiveGroups(k)`, at most k groups;
            `constraints.Levels(bits)`, few values; or any other Keras
            constraint that is a projection. One of them serves all kernels;
            or a dict of layer name pattern -> one of them, or None for no
            limit. The first pattern that matches a layer counts.
        rho: A number above 0, the strength of the pull towards Z in the
            first stage. Defaults to `1e-3`.
        growth: A number >= 1, the factor on rho from one stage to the next.
            Defaults to `10.0`.
        stage: A whole number >= 1, the epochs of a stage. Defaults to `10`.
        every: A whole number >= 1, the epochs between two updates of Z and
            U. Defaults to `1`.

    Example:
    ```python
    solver = knc.solvers.ADMM(
        {"conv*": knc.constraints.MaxActiveGroups("50%"), "*": None}
    )
    model.compile("adam", "sparse_categorical_crossentropy", solver=solver)
    model.fit(x, y, epochs=30)
    freeze = knc.callbacks.Freeze()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=10, callbacks=[freeze])
    ```

    References: Zhang et al., A Systematic DNN Weight Pruning Framework using
    Alternating Direction Method of Multipliers, 2018; Ren et al., ADMM-NN,
    2019.
    """

    # The weights are the optimizer's until training ends.
    sets_weights = False

    def __init__(self, keep, rho=1e-3, growth=10.0, stage=10, every=1):
        if not isinstance(keep, dict):
            keep = {"*": keep}
        for pattern, constraint in keep.items():
            legal = isinstance(
                constraint, (keras.constraints.Constraint, type(None))
            )
            if not (legal and isinstance(pattern, str)):
                raise ValueError(
                    "Argument `keep` must be a constraint that is a "
                    "projection, such as MaxActiveGroups(k), or a dict of "
                    "layer name pattern -> one of these or None. "
                    f"Received: keep={keep!r}"
                )
        super().__init__()
        self.keep = keep
        self.rho = checks.number(
            "rho", rho, "a number above 0", lambda v: v > 0.0
        )
        self.growth = checks.number(
            "growth", growth, "a number >= 1", lambda v: v >= 1.0
        )
        self.stage = checks.whole("stage", stage, 1, " of epochs")
        self.every = checks.whole("every", every, 1, " of epochs")

    def parts(self, regularizer):
        return regularizer, None

    def pairs(self, model):
        """A list of (variable, the constraint that projects it)."""
        return self._matched(model)[0]

    def _matched(self, model):
        """The pairs of `pairs`, and the set of patterns without a kernel."""
        pairs, unused = [], set(self.keep)
        for place in layouts.places(model):
            slot = place.slot
            for pattern, constraint in self.keep.items():
                if layouts.matches(pattern, place):
                    unused.discard(pattern)
                    if constraint and slot.variable.trainable:
                        fitted = layouts.fitted(constraint, slot)
                        pairs.append((slot.variable, fitted))
                    break
        return pairs, unused

    def check(self, model):
        super().check(model)
        pairs, unused = self._matched(model)
        if unused or not pairs:
            raise ValueError(
                "Argument `keep` has patterns that match no kernel (a kernel "
                "belongs to the first pattern that matches), or no "
                "constraint. "
                f"Received: keep={sorted(unused) or self.keep!r}"
            )

    def bind(self, model):
        state = model.solver_state
        state.rho = state.scalar("rho", self.rho)
        variables = [variable for variable, _ in self.pairs(model)]
        state.add_like("Z", variables)
        state.add_like("U", variables)
        for variable, project in self.pairs(model):
            state.like("Z", variable).assign(project(variable))

    def begin_epoch(self, model, epoch):
        state, (stage, within) = model.solver_state, divmod(epoch, self.stage)
        state.rho.assign(self.rho * self.growth**stage)
        if within % self.every:
            return
        for variable, project in self.pairs(model):
            z, u = state.like("Z", variable), state.like("U", variable)
            w = read(variable)
            if within == 0:
                u.assign(ops.zeros_like(w))
            moved = w + u
            z.assign(project(moved))
            if within:
                u.assign(moved - z)

    def coupling(self, model):
        state, rho = model.solver_state, read(model.solver_state.rho)
        return sum(
            pull(
                variable,
                state.like("Z", variable) - state.like("U", variable),
                rho,
            )
            for variable, _ in self.pairs(model)
        )

    def finish(self, model):
        for variable, project in self.pairs(model):
            variable.assign(project(variable))

    def get_config(self):
        return {
            "keep": {
                pattern: keras.saving.serialize_keras_object(constraint)
                for pattern, constraint in self.keep.items()
            },
            "rho": self.rho,
            "growth": self.growth,
            "stage": self.stage,
            "every": self.every,
        }

    @classmethod
    def from_config(cls, config):
        keep = {
            pattern: keras.saving.deserialize_keras_object(constraint)
            for pattern, constraint in config["keep"].items()
        }
        return cls(**{**config, "keep": keep})
