"""What would fail only after hours is refused before anything is written."""

import numpy as np

import tflite_export
from keras_nonconvex import files
from keras_nonconvex.compression import training
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import planning
from keras_nonconvex.pruning.refitting import repairing
from keras_nonconvex.training.attachment import attach
from tflite_export import qat

# A budget for which all goes that can.
_NOTHING = {"params": 2}
# A time counts against a budget once it has been taken so often.
_TRIES = 3


def check(job):
    """Refuses a run that cannot work with this model and these data.

    Args:
        job: The `Job`.
    """
    recipe = job.recipe
    if recipe.qat_epochs:
        qat.check_installed()
        qat.check_model(job.new_model())
    if recipe.repairs and len(job.data.train) < repairing.FEWEST:
        raise ValueError(
            f"A repair needs at least {repairing.FEWEST} training samples: "
            "give more, or `repair` as false. "
            f"Received: {len(job.data.train)} of {job.data.name!r}"
        )
    attach(job.new_model(), recipe.rules())
    model = job.new_model()
    if recipe.dtype_policy:
        training.copied(model, recipe.dtype_policy)
    _check_finite(recipe.model, model)
    for point in recipe.points:
        _check_budget(recipe, point, model)
    _check_measures(recipe, model)
    if recipe.own_model:
        with files.scratch() as folder:
            tflite_export.convert(model, folder / "trial.tflite", "float32")


def _check_finite(name, model):
    for variable in model.weights:
        if not np.isfinite(variable.numpy()).all():
            raise ValueError(
                "The weights of a model must be finite. Received: NaN or "
                f"infinite values in {variable.path!r} of {name!r}"
            )


def _check_budget(recipe, point, model):
    """Refuses a budget, of what can be counted, that cannot be met.

    How little can stay is the same for every criterion.
    """
    counted = {
        key: value
        for key, value in (point.budget or {}).items()
        if key not in budgets.MEASURES
    }
    settings, rises = _settings(recipe)
    plan = planning.plan(
        model,
        "random" if counted else None,
        counted or None,
        recipe.round_to,
        **settings,
    )
    if not plan.met and not rises:
        raise _refused(point.budget, plan, plan.before, plan.after, plan.target)


def _check_measures(recipe, model):
    """Refuses bytes and times that the smallest network exceeds."""
    asked = [point.budget for point in recipe.points if point.budget]
    keys = {key for budget in asked for key in budget} & set(budgets.MEASURES)
    settings, rises = _settings(recipe)
    if not keys or rises:
        return
    least = planning.plan(
        model, "random", _NOTHING, recipe.round_to, **settings
    )
    small = least.apply(model)
    for key in sorted(keys):
        measure = budgets.MEASURES[key]
        before = {key: measure(model)}
        limit, budget = min(
            (
                (budgets.absolute({key: one[key]}, before)[key], one)
                for one in asked
                if key in one
            ),
            key=lambda pair: pair[0],
        )
        for _ in range(_TRIES):
            after = {key: measure(small)}
            if after[key] <= limit:
                break
        else:
            raise _refused(budget, least, before, after, [key])


def _settings(recipe):
    """(further arguments of `plan`, whether samples limit what goes).

    A budget may stay unmet where they do.
    """
    settings = {**(recipe.plan or {})}
    return settings, settings.pop("max_rise", None) is not None


def _refused(budget, plan, before, after, keys):
    left = ", ".join(
        f"{after[key]:,.6g} of {before[key]:,.6g} {key}" for key in keys
    )
    return ValueError(
        f"The budget must be at least what has to stay: {left}. {plan.limit} "
        f"A share is written 50% or 0.5. Received: budget={budget}"
    )
