"""The LiteRT files of a run: written, compared with Keras, timed."""

import dataclasses

import tflite_export
from keras_nonconvex import samples
from keras_nonconvex import terminal
from keras_nonconvex.run_folder import NETWORKS


def write(models, recipe, data, paths, console):
    """Writes the LiteRT files of the networks in every precision.

    Args:
        models: `{"dense": model, "small": model}`.
        recipe: The `Recipe`.
        data: The `Images`: training images set the ranges of quantized files,
            all test images are compared with Keras.
        paths: The `run_folder.Paths` of the run.
        console: A `rich.console.Console`.

    Returns:
        `{file name: figures}`: bytes, accuracy, parity and latency.
    """
    jobs = [
        (network, precision, paths.tflite(network, precision))
        for network in NETWORKS
        for precision in recipe.precisions
    ]
    # One unit gives the probability of the second class.
    units = models["small"].output_shape[-1]
    labels = data.classes[-units:]
    metadata = tflite_export.Metadata(labels, name=recipe.name)
    figures = {}
    calibration, _ = samples.read(
        models["dense"], data.x_train, most=recipe.representative_samples
    )
    for network, precision, path in jobs:
        model = models[network]
        with terminal.bar(console, f"{path.name}: convert"):
            made = tflite_export.convert(
                model,
                path,
                precision,
                calibration,
                metadata=metadata,
            )
        images = len(data.x_test)
        with terminal.bar(console, f"{path.name}: check", images) as update:
            parity = tflite_export.check_parity(
                model, path, data.x_test, data.y_test, progress=update
            )
        figures[path.name] = {
            "bytes": made.bytes,
            "accuracy": parity.accuracy,
            "max_abs_diff": parity.max_abs_diff,
            "agreement": parity.agreement,
            "parity": parity.met,
        }
        if not parity.met:
            # The folder has another name until the run is complete.
            named = dataclasses.replace(parity, path=path.name)
            terminal.say(console, str(named), "yellow")
    first, *others = (path for _, _, path in jobs)
    with terminal.bar(console, "Latency, interleaved runs"):
        timings = tflite_export.benchmark(
            first, others, runs=recipe.latency_runs
        )
    for (_, _, path), timing in zip(jobs, timings, strict=True):
        figures[path.name]["latency_ms"] = timing.median_ms
        figures[path.name]["latency_p95_ms"] = timing.p95_ms
    return figures
