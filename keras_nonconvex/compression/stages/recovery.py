"""The fine-tuning of each small network."""

import functools

from keras_nonconvex import files
from keras_nonconvex import terminal
from keras_nonconvex.compression import training
from keras_nonconvex.compression.stages import shrinking
from keras_nonconvex.compression.steps import Step
from keras_nonconvex.training.recovery import fine_tune


def steps(job):
    """The steps of this stage, a list of `Step`."""
    return [
        Step(
            f"fine-tune.{point.name}",
            functools.partial(_recover, job, point),
            needs=("dense", shrinking.start(job, point)[0]),
            makes=(job.paths.model(point.name),),
        )
        for point in job.recipe.points
    ]


def _recover(job, point):
    _, path = shrinking.start(job, point)
    model = files.load_model(path)
    measured = job.measure(model)
    if job.recipe.fine_tune_epochs:
        _train(job, point, model)
        before, measured = measured, job.measure(model)
        if _worse(job.task.measure, measured, before):
            model, measured = files.load_model(path), before
            terminal.say(
                job.console,
                f"{point.name}: validation images are for the network before "
                "its fine-tuning, which stays.",
            )
    job.save(model, point.name)
    return measured


def _worse(measure, measured, before):
    """Whether a training has lost on validation images."""
    key = f"validation_{measure.name}"
    return measure.gain(measured[key]) < measure.gain(before[key])


def _train(job, point, model):
    recipe, step = job.recipe, f"fine-tune.{point.name}"
    training.announce(job, step, model, recipe.fine_tune_epochs)
    with training.replicated(job, model) as replica:
        fine_tune(
            replica,
            job.training_data(step),
            epochs=recipe.fine_tune_epochs,
            loss=job.task.loss(),
            metrics=job.task.metrics(),
            teacher=job.load("dense") if recipe.teacher else None,
            keep_zeros=recipe.keep_zeros,
            validation_data=job.validation_data(),
            shuffle=False,
            verbose=0,
            callbacks=training.recording(job, step, recipe.patience),
            **(recipe.fine_tune or {}),
        )
