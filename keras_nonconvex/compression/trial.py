"""What would fail only after hours is refused before anything is written."""

import numpy as np

import tflite_export
from keras_nonconvex import files
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import planning
from keras_nonconvex.pruning.refitting import repairing
from keras_nonconvex.training.attachment import attach
from tflite_export import qat


def check(job):
    """Refuses a run that cannot work with this model and these data.

    Args:
        job: The `Job`.
    """
    recipe = job.recipe
    if recipe.qat_epochs and "int8" in recipe.precisions:
        qat.check_installed()
    if recipe.repairs and len(job.data.train) < repairing.FEWEST:
        raise ValueError(
            f"A repair needs at least {repairing.FEWEST} training samples: "
            "give more, or `repair` as false. "
            f"Received: {len(job.data.train)} of {job.data.name!r}"
        )
    attach(job.new_model(), recipe.rules())
    model = job.new_model()
    _check_finite(recipe.model, model)
    for point in recipe.points:
        _check_budget(recipe, point, model)
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
    settings = {**(recipe.plan or {})}
    # It limits what goes, by samples; a budget may then stay unmet.
    rises = settings.pop("max_rise", None) is not None
    plan = planning.plan(
        model,
        "random" if counted else None,
        counted or None,
        recipe.round_to,
        **settings,
    )
    if plan.met or rises:
        return
    left = ", ".join(
        f"{plan.after[key]:,} of {plan.before[key]:,} {key}"
        for key in plan.target
    )
    raise ValueError(
        f"The budget must be at least what has to stay: {left}. {plan.limit} "
        f"A share is written 50% or 0.5. Received: budget={point.budget}"
    )
