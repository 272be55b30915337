"""The dense network, which all others are compared with."""

from keras_nonconvex.compression import training
from keras_nonconvex.compression.steps import Step


def steps(job):
    """The steps of this stage, a list of `Step`."""
    made = [
        Step("dense", lambda: _dense(job), makes=(job.paths.model("dense"),))
    ]
    if job.recipe.long_baseline:
        made.append(Step("dense_long", lambda: _longer(job)))
    return made


def _dense(job):
    model = job.new_model()
    if job.recipe.trains:
        training.fit(job, "dense", model, job.recipe.epochs)
    job.save(model, "dense")
    return job.measure(model)


def _longer(job):
    model = job.new_model()
    epochs = job.recipe.epochs + job.recipe.fine_tune_epochs
    training.fit(job, "dense_long", model, epochs)
    return job.measure(model)
