"""The dense network, which all others are compared with."""

from keras_nonconvex import terminal
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
        training.fit(
            job,
            "dense",
            model,
            job.recipe.epochs,
            patience=job.recipe.patience,
        )
    job.save(model, "dense")
    measured = job.measure(model)
    if not job.recipe.trains:
        _say_if_by_chance(job, measured)
    return measured


def _say_if_by_chance(job, measured):
    """Warns of a trained model that knows nothing of these pictures."""
    accuracy, classes = measured.get("validation_accuracy"), job.data.classes
    if accuracy is None or not classes:
        return
    chance = 1 / len(classes)
    if accuracy < min(1.5 * chance, chance + 0.1):
        x, _ = job.data.train.arrays(100, job.recipe.seed)
        terminal.say(
            job.console,
            f"The given network is right about {accuracy:.0%} of the "
            "validation images, hardly more than by chance. Are its outputs "
            f"in the order of the classes, {', '.join(classes[:10])}? Was it "
            f"trained on values from {x.min():.3g} to {x.max():.3g}, as it "
            "gets them here? A layer Rescaling at its start says otherwise.",
            "yellow",
        )


def _longer(job):
    model = job.new_model()
    epochs = job.recipe.epochs + job.recipe.fine_tune_epochs
    training.fit(job, "dense_long", model, epochs, patience=job.recipe.patience)
    return job.measure(model)
