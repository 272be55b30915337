"""Zeros in single weights on a phone's runtime: size and latency.

    python benchmarks/sparse_weights.py

MobileNet V1 and V2 at 224 x 224 (random weights: neither depends on their
values), with the smallest weights of every 1 x 1 convolution at zero, as
dense files and with the converter's EXPERIMENTAL_SPARSITY.
"""

import argparse
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops

import tflite_export
from keras_nonconvex import files
from keras_nonconvex import models
from tflite_export.qat.training import zipped_bytes

NETWORKS = {
    "MobileNet V1": lambda: models.mobilenet_v1((224, 224, 3), 1000),
    "MobileNet V2": lambda: keras.applications.MobileNetV2(weights=None),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zeros", type=float, nargs="*", default=[0.8, 0.9])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--out", default="benchmarks/results")
    options = parser.parse_args()
    lines = [
        "# Zeros in single weights: size and latency",
        "",
        f"    python benchmarks/sparse_weights.py --runs {options.runs}",
        "",
        "Zeros are in the 1 x 1 convolutions alone. float32, batch 1, one "
        f"thread of XNNPACK on x86, median of {options.runs} interleaved "
        "runs per network; differences of a third are noise where the machine "
        "does other work.",
        "",
        "| network | zeros | file | bytes | zipped | ms |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for name, build in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            lines += rows(name, build(), options, pathlib.Path(folder))
    lines.append("")
    print("\n".join(lines))
    path = pathlib.Path(options.out) / "sparse_weights.md"
    files.write_text(path, "\n".join(lines))


def rows(name, model, options, folder):
    cases = []
    for fraction in [0.0, *options.zeros]:
        zeroed(model, fraction)
        for kind in ("dense", "sparse"):
            if fraction or kind == "dense":
                path = folder / f"{fraction}_{kind}.tflite"
                convert(model, path, kind)
                cases.append((fraction, kind, path))
    first, *others = (path for _, _, path in cases)
    times = tflite_export.benchmark(first, others, runs=options.runs)
    return [
        f"| {name} | {fraction:.0%} | {kind} | {path.stat().st_size:,} "
        f"| {zipped_bytes(path):,} | {found.median_ms:.2f} |"
        for (fraction, kind, path), found in zip(cases, times, strict=True)
    ]


def zeroed(model, fraction):
    """Sets the smallest weights of every 1 x 1 convolution to zero."""
    for layer in model.layers:
        if type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
            kernel = ops.convert_to_numpy(layer.kernel)
            small = np.abs(kernel) < np.quantile(np.abs(kernel), fraction)
            layer.kernel.assign(np.where(small, 0, kernel))


def convert(model, path, kind):
    if kind == "dense":
        tflite_export.convert(model, path)
        return
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        model.export(
            folder,
            format="tf_saved_model",
            verbose=False,
            input_signature=[
                keras.InputSpec(
                    shape=(1, *model.input_shape[1:]), dtype="float32"
                )
            ],
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        path.write_bytes(converter.convert())


if __name__ == "__main__":
    main()
