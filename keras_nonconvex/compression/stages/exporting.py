"""LiteRT files: written, compared with Keras, timed."""

import dataclasses
import functools

import tflite_export
from keras_nonconvex import terminal
from keras_nonconvex.compression.steps import Step
from tflite_export import parity as parities
from tflite_export import qat


def steps(job):
    """The steps of this stage, a list of `Step`."""
    made, written = [], []
    for network in ("dense", *(p.name for p in job.recipe.points)):
        for precision in job.recipe.precisions:
            path = job.paths.tflite(network, precision)
            needs = "dense" if network == "dense" else f"fine-tune.{network}"
            made.append(
                Step(
                    f"export.{path.stem}",
                    functools.partial(_export, job, network, precision, path),
                    needs=(needs,),
                    makes=(path,),
                )
            )
            written.append(path)
    together = Step(
        "latency",
        functools.partial(_time, job, written),
        needs=tuple(step.name for step in made),
    )
    return [*made, together]


def _export(job, network, precision, path):
    recipe, data = job.recipe, job.data
    model = job.load(network)
    metadata = tflite_export.Metadata(job.task.labels, name=recipe.name)
    if precision == "int8" and recipe.qat_epochs:
        x, y = data.train.arrays(None, recipe.seed)
        size = qat.train(
            model,
            x,
            # Answers of yes or no may be kept as numbers of any type.
            y.astype("int64"),
            path,
            epochs=recipe.qat_epochs,
            metadata=metadata,
            seed=recipe.seed,
            console=job.console,
        ).bytes
    else:
        x, _ = data.train.arrays(recipe.representative_samples, recipe.seed)
        with terminal.bar(job.console, f"{path.name}: convert"):
            size = tflite_export.convert(
                model, path, precision, x, metadata=metadata
            ).bytes
    x, y = data.test.arrays()
    with terminal.bar(job.console, f"{path.name}: check", len(x)) as update:
        parity, (found,) = parities.compared(model, path, x, progress=update)
    if not parity.met:
        # The folder has another name until the run is complete.
        named = dataclasses.replace(parity, path=path.name)
        terminal.say(job.console, str(named), "yellow")
    return {
        "bytes": size,
        job.task.measure.name: job.task.score(found, y),
        "max_abs_diff": parity.max_abs_diff,
        "agreement": parity.agreement,
        "parity": parity.met,
    }


def _time(job, paths):
    first, *others = paths
    with terminal.bar(job.console, "Latency, interleaved runs"):
        timings = tflite_export.benchmark(
            first, others, runs=job.recipe.latency_runs
        )
    return {
        path.name: {
            "latency_ms": timing.median_ms,
            "latency_p95_ms": timing.p95_ms,
        }
        for path, timing in zip(paths, timings, strict=True)
    }
