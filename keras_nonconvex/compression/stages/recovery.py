"""The fine-tuning of each small network."""

import functools

from keras_nonconvex import files
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
    recipe = job.recipe
    _, path = shrinking.start(job, point)
    model = files.load_model(path)
    if recipe.fine_tune_epochs:
        step = f"fine-tune.{point.name}"
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
                callbacks=training.recording(job, step),
                **(recipe.fine_tune or {}),
            )
    job.save(model, point.name)
    return job.measure(model)
