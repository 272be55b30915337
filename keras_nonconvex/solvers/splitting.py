"""Variable splitting: a gradient step on W, thresholding of its copy V."""

from keras import ops

from keras_nonconvex import checks
from keras_nonconvex.backends import assign
from keras_nonconvex.backends import traced
from keras_nonconvex.solvers import batches
from keras_nonconvex.solvers.base import Solver
from keras_nonconvex.solvers.base import pull
from keras_nonconvex.solvers.state import read
from keras_nonconvex.tensors import in_full_precision


class VariableSplitting(Solver):
    """Minimises loss(W) + group term(W) + r(V) + beta / 2 ||W - V||^2.

    In each update the optimizer moves W along the gradient of everything but
    r; then V <- prox_{r / beta}(W). beta grows from time to time. r is the
    regularizer's term on single weights, where it has one, and all of the
    regularizer otherwise. The logged loss is data loss + penalty at W.

    While `fit` goes on, the weights are W, without exact zeros.

    Args:
        beta: A number above 0, the strength of the pull between W and V; or
            None for 25 times the strength of each regularizer, the authors'
            ratio. (Their strength and beta are divided by the number of
            training samples.) Defaults to `None`.
        growth: A number >= 1, the factor by which beta grows. Defaults to
            `1.25`.
        every: A whole number >= 1, the epochs between two growths of beta.
            Defaults to `20`.
        return_: What the weights hold after `fit`: `"V"`, thresholded and
            with exact zeros, or `"W"`, as the authors evaluate. Defaults to
            `"V"`.

    Example:
    ```python
    solver = knc.solvers.VariableSplitting(growth=1.25, every=20)
    model.compile("adam", "sparse_categorical_crossentropy", solver=solver)
    model.fit(x, y, epochs=200)
    ```

    References: Bui, Park, Zhang, Qi, Xin, Structured Sparsity of
    Convolutional Neural Networks via Nonconvex Sparse Group Regularization,
    2021; with r on groups, RVSM and RGSM (Dinh & Xin 2018; Yang et al. 2019).
    """

    # The weights are the optimizer's until training ends.
    sets_weights = False

    def __init__(self, beta=None, growth=1.25, every=20, return_="V"):
        if beta is not None:
            beta = checks.number(
                "beta", beta, "a number above 0 or None", lambda v: v > 0.0
            )
        super().__init__()
        self.beta = beta
        self.growth = checks.number(
            "growth", growth, "a number >= 1", lambda v: v >= 1.0
        )
        self.every = checks.whole("every", every, 1, " of epochs")
        self.return_ = checks.choice("return_", return_, ("W", "V"))
        self._threshold = traced(self._thresholded)

    def parts(self, regularizer):
        terms = regularizer.terms
        if terms.elementwise is None:
            followed, handled = None, regularizer
        else:
            followed, handled = terms
        if not handled.has_prox or self._beta_of(handled) == 0:
            return regularizer, None
        return followed, handled

    def check(self, model):
        super().check(model)
        if not self.targets(model):
            raise ValueError(
                "VariableSplitting needs a weight whose regularizer has a "
                "prox and a strength above 0. "
                f"Received: model={model.name!r}, where no weight has one"
            )

    def bind(self, model):
        state = model.solver_state
        state.growth = state.scalar("growth", 1.0)
        state.add_like("V", [variable for variable, _ in self.targets(model)])
        self.after_update(model)

    def begin_epoch(self, model, epoch):
        growth = self.growth ** (epoch // self.every)
        model.solver_state.growth.assign(growth)
        # Something else may have set W since the last update.
        self.after_update(model)

    def coupling(self, model):
        state, growth = model.solver_state, read(model.solver_state.growth)
        return sum(
            pull(
                variable,
                state.like("V", variable),
                self._beta_of(reg) * growth,
            )
            for variable, reg in self.targets(model)
        )

    def after_update(self, model, before=None):
        state = model.solver_state
        variables, active = zip(*self.targets(model), strict=True)
        values = self._threshold(
            active,
            [read(variable) for variable in variables],
            state.moment,
            read(state.growth),
        )
        assign([state.like("V", v) for v in variables], values)

    def finish(self, model):
        if self.return_ == "W":
            return
        # Another callback may have changed W since the last update.
        self.after_update(model)
        for variable, _ in self.targets(model):
            variable.assign(read(model.solver_state.like("V", variable)))
        super().finish(model)

    def _thresholded(self, active, values, moment, growth):
        growths = [ops.cast(growth, in_full_precision(w).dtype) for w in values]
        steps = [
            1.0 / (self._beta_of(reg) * rise)
            for reg, rise in zip(active, growths, strict=True)
        ]
        return batches.proximal(active, values, steps, *moment)

    def _beta_of(self, regularizer):
        if self.beta is not None:
            return self.beta
        return 25.0 * regularizer.strength

    def get_config(self):
        return {
            "beta": self.beta,
            "growth": self.growth,
            "every": self.every,
            "return_": self.return_,
        }
