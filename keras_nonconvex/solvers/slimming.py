"""Proximal slimming: a proximal step on the weights and one on their copy."""

from keras_nonconvex import checks
from keras_nonconvex.backends import assign
from keras_nonconvex.backends import traced
from keras_nonconvex.solvers import batches
from keras_nonconvex.solvers.proximal import ProximalGradient
from keras_nonconvex.solvers.state import read


class ProximalSlimming(ProximalGradient):
    """Minimises loss(gamma) + r(xi) + beta / 2 ||gamma - xi||^2.

    gamma are the weights that have a penalty r: in the paper the scales of
    batch normalizations, here any. xi is a copy of them that finds zeros.
    After each update of the optimizer, with alpha = 1 / step:

        gamma <- (alpha gamma + beta xi) / (alpha + beta)
        xi <- prox_{r / (alpha + beta)}((alpha xi + beta gamma)
                                        / (alpha + beta))

    xi starts at gamma. `VariableSplitting` minimises the same, but follows
    the gradient of the last term and moves its copy all the way. The logged
    loss is data loss + penalty at gamma.

    While `fit` goes on, the weights are gamma, without exact zeros.

    Args:
        beta: A number above 0, the strength of the pull between gamma and xi.
            Defaults to `100.0`.
        step: As in `ProximalGradient`. `"learning_rate"` is the authors' own:
            with a momentum m the data loss then weighs 1 / (1 - m) times as
            much as the rest. Defaults to `"auto"`.
        return_: What the weights hold after `fit`: `"xi"`, with exact zeros,
            or `"gamma"`, as the authors evaluate. Defaults to `"xi"`.

    Example:
    ```python
    scales = knc.Elementwise(knc.penalties.L1(), 4.5e-4)
    model = knc.attach(model, {"*/gamma": scales, "*": None})
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        solver=knc.solvers.ProximalSlimming(beta=10.0),
    )
    ```

    Reference: Bui, Xue, Park, Qi, Xin, A Proximal Algorithm for Network
    Slimming, 2023.
    """

    # A class of coupled channels would need a copy of all of its weights.
    couples = False

    def __init__(self, beta=100.0, step="auto", return_="xi"):
        super().__init__(step)
        self.beta = checks.number(
            "beta", beta, "a number above 0", lambda v: v > 0.0
        )
        self.return_ = checks.choice("return_", return_, ("gamma", "xi"))
        self._both = traced(self._moved)

    def parts(self, regularizer):
        # Without any penalty the copy would only hold the weights back.
        if any(getattr(regularizer, name) for name in regularizer.strengths):
            return super().parts(regularizer)
        return regularizer, None

    def bind(self, model):
        super().bind(model)
        variables = [variable for variable, _ in self.targets(model)]
        model.solver_state.add_like("xi", variables)
        self.begin_epoch(model, 0)

    def begin_epoch(self, model, epoch):
        super().begin_epoch(model, epoch)
        if epoch == 0:
            # Weights may have been loaded since the model was compiled.
            for variable, _ in self.targets(model):
                model.solver_state.like("xi", variable).assign(read(variable))

    def _own_proxes(self, model, targets, before, reach, lr, updated):
        points, steps = self._points_and_steps(
            model, targets, before, reach, lr
        )
        copies = [model.solver_state.like("xi", v) for v, _ in targets]
        gammas, xis = self._both(
            [reg for _, reg in targets],
            points,
            steps,
            [read(copy) for copy in copies],
            model.solver_state.moment,
        )
        assign(copies, xis)
        return gammas

    def _moved(self, active, points, steps, xis, moment):
        # beta / (alpha + beta), how far each goes to the other; alpha and
        # beta themselves are infinite where the step is 0.
        ways = [self.beta * step / (1.0 + self.beta * step) for step in steps]
        gammas = [
            (1.0 - way) * point + way * xi
            for point, way, xi in zip(points, ways, xis, strict=True)
        ]
        between = [
            (1.0 - way) * xi + way * gamma
            for gamma, way, xi in zip(gammas, ways, xis, strict=True)
        ]
        steps = [
            (1.0 - way) * step for way, step in zip(ways, steps, strict=True)
        ]
        return gammas, batches.proximal(active, between, steps, *moment)

    def finish(self, model):
        if self.return_ == "gamma":
            return
        for variable, _ in self.targets(model):
            variable.assign(read(model.solver_state.like("xi", variable)))
        super().finish(model)

    def get_config(self):
        return {"beta": self.beta, "step": self.step, "return_": self.return_}
