"""Small networks: what goes is chosen and removed, the rest is refitted.

Each point of a front starts from the one before it, which keeps more.
"""

import functools

import numpy as np

from keras_nonconvex import files
from keras_nonconvex import terminal
from keras_nonconvex.compression.steps import Step
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import planning
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.pruning.refitting import repairing

# The images that criteria look at, and those that a repair sees.
SAMPLES = 2000


def steps(job):
    """The steps of this stage, a list of `Step`."""
    made, before = [], None
    for point in job.recipe.points:
        name = point.name
        pruned, plan = job.paths.pruned(name), job.paths.plan(name)
        earlier, _ = start(job, before)
        made.append(
            Step(
                f"prune.{name}",
                functools.partial(_prune, job, point, before),
                needs=(earlier,),
                makes=(pruned, plan),
            )
        )
        if job.recipe.repairs:
            made.append(
                Step(
                    f"repair.{name}",
                    functools.partial(_repair, job, point),
                    needs=(f"prune.{name}",),
                    makes=(job.paths.repaired(name),),
                )
            )
        before = point
    return made


def start(job, point):
    """What the training of a point starts from.

    Args:
        job: The `Job`.
        point: A `Point`; or None, for what the first point is made of.

    Returns:
        (name of the step, path of the model).
    """
    if point is None:
        base = "sparse" if job.recipe.is_sparse else "dense"
        return base, job.paths.model(base)
    if job.recipe.repairs:
        return f"repair.{point.name}", job.paths.repaired(point.name)
    return f"prune.{point.name}", job.paths.pruned(point.name)


def _prune(job, point, before):
    recipe = job.recipe
    _, path = start(job, before)
    model = files.load_model(path)
    plan, removal = planning.planned(
        model,
        recipe.criterion,
        _left(job, point, before, model),
        recipe.round_to,
        data=job.data.train.arrays(SAMPLES, recipe.seed),
        **(recipe.plan or {}),
    )
    small = removal.small_like(model)
    expected = job.predict(removal.masked(), job.data.test)
    difference = np.abs(expected - job.predict(small, job.data.test)).max()
    if before is not None:
        earlier = job.paths.plan(before.name).read_text()
        plan = PruningPlan.from_json(earlier).then(plan)
    job.console.print(plan.table())
    measured = {**job.measure(small), "max_abs_diff": float(difference)}
    terminal.say(
        job.console,
        f"{point.name}: pruned against masked network on "
        f"{len(job.data.test):,} images: max |difference| {difference:.2g}; "
        f"{job.task.said(measured)} before anything else",
    )
    files.write_text(job.paths.plan(point.name), plan.to_json())
    files.save_model(small, job.paths.pruned(point.name))
    return measured


def _left(job, point, before, model):
    """The budget of a point, as one of the network of the point before it.

    Args:
        job: The `Job`.
        point: The `Point`.
        before: The `Point` before it, or None.
        model: The network of that one.
    """
    if before is None:
        return point.budget
    step, path = start(job, None)
    whole, now = job.records.measured(step), job.size(model)
    for key in point.budget:
        if key in budgets.MEASURES:
            whole[key] = budgets.MEASURES[key](files.load_model(path))
            now[key] = budgets.MEASURES[key](model)
    limits = budgets.absolute(point.budget, whole)
    left = {key: min(limit / now[key], 1.0) for key, limit in limits.items()}
    if "channels" in point.budget:
        earlier = budgets.fraction(before.budget.get("channels", 1.0))
        asked = budgets.fraction(point.budget["channels"])
        left["channels"] = min(asked / earlier, 1.0)
    return left


def _repair(job, point):
    _, path = start(job, None)
    plan = PruningPlan.from_json(job.paths.plan(point.name).read_text())
    x, _ = job.data.train.arrays(SAMPLES, job.recipe.seed)
    small, report = repairing.repair(
        files.load_model(job.paths.pruned(point.name)),
        plan,
        files.load_model(path),
        x,
        seed=job.recipe.seed,
    )
    measured = job.measure(small)
    terminal.say(
        job.console,
        f"{point.name}: refitted to the {path.stem} network: "
        f"{job.task.said(measured)}",
    )
    files.save_model(small, job.paths.repaired(point.name))
    return {**measured, "layers": sum(not entry.kept for entry in report)}
