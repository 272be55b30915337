"""The network that is trained with a penalty."""

import functools
import math

from keras_nonconvex import callbacks
from keras_nonconvex import counts
from keras_nonconvex import terminal
from keras_nonconvex.compression import training
from keras_nonconvex.compression.stages import shrinking
from keras_nonconvex.compression.steps import Step
from keras_nonconvex.pruning import budgets
from keras_nonconvex.training import strength
from keras_nonconvex.training.attachment import attach

# A strength that is to be found starts at this part of `strength_max`. It is
# looked at so often in an epoch, and grows at most so fast that half of the
# training reaches `strength_max`.
_FIRST = 1e-4
_LOOKS = 10


def steps(job):
    """The steps of this stage, a list of `Step`."""
    if not job.recipe.is_sparse:
        return []
    path = job.paths.model("sparse")
    return [Step("sparse", functools.partial(_sparse, job), makes=(path,))]


def _sparse(job):
    recipe = job.recipe
    rules, target = recipe.rules(), recipe.target
    if recipe.sparse:
        rules = _found(job, rules)
        target = target or _asked(recipe.points)
    model = attach(job.new_model(), rules)
    more = [callbacks.SparsityMonitor()]
    if target is not None:
        looks = min(_LOOKS, job.steps)
        more.append(
            callbacks.TargetSparsity(
                target,
                speed=_FIRST ** (-2 / (looks * recipe.epochs)),
                every=job.steps // looks,
            )
        )
    training.fit(
        job, "sparse", model, recipe.epochs, more, recipe.make_solver()
    )
    job.save(model, "sparse")
    summary = counts.summary(model)
    return {
        **job.measure(model),
        "zero_weights": summary.zero_weights,
        "zero_filters": summary.zero_filters,
        "weights": summary.weights,
        "filters": summary.filters,
    }


def _found(job, rules):
    """The rules with a strength at which the training can start."""
    model = attach(job.new_model(), rules)
    model.compile(job.recipe.make_optimizer(1), job.task.loss())
    x, y = job.data.train.arrays(shrinking.SAMPLES, job.recipe.seed)
    top = strength.strength_max(model, x, y)
    (pattern, regularizer), *_ = rules.items()
    scale = _FIRST * top / regularizer.strength
    terminal.say(
        job.console,
        f"sparse: all is zero from a strength of about {top:.2g} on; starts "
        f"at {_FIRST * top:.2g}",
    )
    return {pattern: regularizer.scaled(scale)}


def _asked(points):
    """The fraction of zero filters that the smallest budget asks for.

    Multiply-adds and parameters fall with the square of the channels.
    """
    budget = points[-1].budget or {}
    left = [
        budgets.fraction(budget[key])
        for key in ("macs", "params")
        if key in budget
    ]
    return 1 - math.sqrt(min([part for part in left if part < 1] or [0.25]))
