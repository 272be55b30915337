"""How much of what pruning saves in MACs is saved in time?

    python benchmarks/latency.py

ResNet-20 and MobileNetV1 at half of their MACs, `round_to` chosen by
`tflite_export.tune_round_to`, float32 and int8, one thread, batch size 1,
dense and pruned in interleaved runs. Writes `results/latency.md`.

ResNet-20 stands twice: with every layer open to pruning, and with its first
stage left alone, whose 16 channels are one step of the kernels already: fewer
cost the same time.
"""

import argparse
import pathlib
import platform
import tempfile

import keras
import numpy as np
from rich.console import Console

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import files

RESULTS = pathlib.Path(__file__).parent / "results" / "latency.md"
# Name -> network, input size, candidates of round_to, layers left alone.
ROWS = {
    "ResNet-20": ("resnet20", 32, (4, 8, 16), ()),
    "ResNet-20, first stage kept": (
        "resnet20",
        32,
        (4, 8, 16),
        ("conv1", "stage1*"),
    ),
    "MobileNetV1": ("mobilenet_v1", 224, (4, 8, 16, 32), ()),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    console = Console()
    lines = []
    for title, (network, size, candidates, exclude) in ROWS.items():
        keras.utils.set_random_seed(0)
        build = knc.models.get(network)
        model = build(input_shape=(size, size, 3), classes=10)
        # Only the ranges of activations come from these.
        samples = np.random.default_rng(0).random((16, size, size, 3))
        for precision in ("float32", "int8"):
            line = measure(
                model, precision, samples, candidates, exclude, options.runs
            )
            lines.append(f"| {title} | {precision} | {line} |")
            console.print(lines[-1], highlight=False)
    write(lines)


def measure(model, precision, samples, candidates, exclude, runs):
    budget = {"macs": 0.5}
    found = tflite_export.tune_round_to(
        model,
        budget,
        candidates=candidates,
        precision=precision,
        representative_data=samples,
        runs=runs,
        exclude=exclude,
    )
    small = knc.prune(
        model, "group_norm", budget, found.best, exclude=list(exclude)
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / f"{n}.tflite" for n in ("small", "all")]
        for path, one in zip(paths, (small, model), strict=True):
            tflite_export.convert(one, path, precision, samples)
        pruned, dense = tflite_export.benchmark(*paths, runs=runs)
    macs = pruned.macs / dense.macs
    time = pruned.median_ms / dense.median_ms
    return (
        f"{found.best} | {macs:.3f} | {dense.median_ms:.3f} | "
        f"{pruned.median_ms:.3f} | {time:.3f} | {time / macs:.2f}"
    )


def write(lines):
    text = f"""# Latency against MACs

`python benchmarks/latency.py`, on {platform.machine()} with AVX-512; one
thread, batch size 1, medians of interleaved runs, without Intel's matrix unit
(see `tflite_export.benchmark`). `round_to` by `tflite_export.tune_round_to`.

| network | precision | round_to | MACs left | dense ms | pruned ms | \
time left | time left / MACs left |
|---|---|---|---|---|---|---|---|
"""
    files.write_text(RESULTS, text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
