"""The network that is trained with a penalty."""

import functools
import math

from keras_nonconvex import callbacks
from keras_nonconvex import counts
from keras_nonconvex import terminal
from keras_nonconvex.compression import reaching
from keras_nonconvex.compression import training
from keras_nonconvex.compression.stages import shrinking
from keras_nonconvex.compression.steps import Step
from keras_nonconvex.pruning import budgets
from keras_nonconvex.solvers import ProximalGradient
from keras_nonconvex.training import strength
from keras_nonconvex.training.attachment import attach

# A strength that is found is this part of `strength_max`: it makes filters
# small that matter little, and leaves the others.
_PART = 1e-2

# Where a solver does not set weights to zero while it works, the strength
# starts at this part. It is looked at so often in an epoch, and grows at most
# so fast that half of the training reaches `strength_max`.
_FIRST = 1e-4
_LOOKS = 10

# So much worse than the dense network, in points or percent, is worth a word.
_MUCH = 20.0


def steps(job):
    """The steps of this stage, a list of `Step`."""
    if not job.recipe.is_sparse:
        return []
    path = job.paths.model("sparse")
    return [Step("sparse", functools.partial(_sparse, job), makes=(path,))]


def _sparse(job):
    recipe = job.recipe
    rules, target = recipe.rules(), recipe.target
    reaches = recipe.sparse and _reaches(job, rules)
    if recipe.sparse:
        rules = _found(job, rules, _PART if reaches else _FIRST)
        target = target or _asked(recipe.points)
    model = attach(job.new_model(), rules)
    more, reach = [callbacks.SparsityMonitor()], None
    if reaches:
        reach = _reach(job, model, target)
        more.append(reach)
    elif target is not None:
        looks = min(_LOOKS, job.steps)
        more.append(
            callbacks.TargetSparsity(
                target,
                speed=_FIRST ** (-2 / (looks * recipe.epochs)),
                every=job.steps // looks,
            )
        )
    training.fit(
        job,
        "sparse",
        model,
        recipe.epochs,
        more,
        recipe.make_solver(),
        # An epoch before the filters are zero is not the best.
        patience=None if reach else recipe.patience,
    )
    if reach:
        reach.restore(model)
    job.save(model, "sparse")
    summary = counts.summary(model)
    measured = job.measure(model)
    _say_if_bad(job, measured, summary.zero_filters / summary.filters, target)
    return {
        **measured,
        "zero_weights": summary.zero_weights,
        "zero_filters": summary.zero_filters,
        "weights": summary.weights,
        "filters": summary.filters,
    }


def _reaches(job, rules):
    """Whether filters can be set to zero while the solver works."""
    solver = job.recipe.make_solver() or ProximalGradient()
    model = attach(job.new_model(), rules)
    return solver.sets_weights and bool(reaching.kernels(model, solver))


def _reach(job, model, target):
    measure = job.task.measure
    return reaching.Reach(
        math.ceil(target * counts.summary(model).filters),
        job.steps,
        job.records.backup("sparse") / "best.weights",
        lambda logs: measure.gain(logs[f"val_{measure.name}"]),
        job.records.rows("sparse"),
    )


def _found(job, rules, part):
    """The rules with a strength at which the training can start."""
    model = attach(job.new_model(), rules)
    model.compile(job.recipe.make_optimizer(1), job.task.loss())
    x, y = job.data.train.arrays(shrinking.SAMPLES, job.recipe.seed)
    top = strength.strength_max(model, x, y)
    (pattern, regularizer), *_ = rules.items()
    scale = part * top / regularizer.strength
    terminal.say(
        job.console,
        f"sparse: all is zero from a strength of about {top:.2g} on; training "
        f"starts at {part * top:.2g}",
    )
    return {pattern: regularizer.scaled(scale)}


def _say_if_bad(job, measured, zero, target):
    """Warns of a target that was missed, and of a network that knows less."""
    more = "train for more epochs, ask for less, or leave the sparse training"
    if target is not None and zero < target - 0.05:
        terminal.say(
            job.console,
            f"sparse: {zero:.0%} of the filters are zero, and {target:.0%} "
            f"were wanted: {more} out.",
            "yellow",
        )
    if not job.records.done("dense"):
        return
    measure, dense = job.task.measure, job.records.measured("dense")
    key = f"validation_{measure.name}"
    if measure.behind(measured[key], dense[key]) > _MUCH:
        terminal.say(
            job.console,
            f"sparse: on validation images the {measure.words} is "
            f"{measure.text(measured[key])}, and that of the dense network "
            f"{measure.text(dense[key])}: {more} out.",
            "yellow",
        )


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
