"""Quantization-aware training of a pruned LeNet-5, Fashion-MNIST.

    python benchmarks/qat.py

Beside post-training int8 of the same model, and of the same model trained in
float32 for as many more epochs. The pruned model is that of the run folder
`--run`, which is made first if it is not there.
"""

import argparse
import pathlib
import tempfile
import time

import keras
import numpy as np
from rich.console import Console

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import datasets
from keras_nonconvex import files
from tflite_export import flatfile
from tflite_export import qat
from tflite_export import runtime
from tflite_export.qat.training import zipped_bytes

RECIPE = {
    "name": "qat",
    "dataset": "fashion_mnist",
    "regularizers": {
        "conv*": {
            "name": "sparse_group_tl1",
            "strength": 2e-5,
            "group_strength": 2e-4,
        },
        "dense1": {
            "name": "sparse_group_tl1",
            "strength": 6e-6,
            "group_strength": 6e-5,
        },
        "dense2": {
            "name": "sparse_group_tl1",
            "strength": 6e-6,
            "group_strength": 6e-6,
        },
    },
    "epochs": 4,
    "fine_tune_epochs": 2,
    "keep_zeros": True,
    "precisions": ["float32"],
}
WAYS = {
    "QAT": {},
    "QAT, zeros kept": {"keep_zeros": True},
    "16 clusters, float32": {"clusters": 16, "precision": "float32"},
    "16 clusters, QAT": {"clusters": 16},
    "16 clusters, QAT, zeros kept": {"clusters": 16, "keep_zeros": True},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/qat", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", default="benchmarks/results")
    options = parser.parse_args()
    if not options.run.exists():
        knc.compress(RECIPE, options.run)
    data = datasets.load("fashion_mnist")
    small = files.load_model(options.run / "small.keras")
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(small, data, options.epochs, pathlib.Path(folder))
    summary = knc.summary(small)
    zeros = sum(
        (keras.ops.convert_to_numpy(layer.kernel) == 0).sum()
        for layer in small.layers
        if hasattr(layer, "kernel")
    )
    lines = [
        "# Quantization-aware training of a pruned LeNet-5, Fashion-MNIST",
        "",
        f"    python benchmarks/qat.py --epochs {options.epochs}",
        "",
        f"The small model has {summary.params:,} parameters, {zeros:,} of "
        "them zeros among what is left of the kernels. Accuracy on the "
        "10,000 test images, of the LiteRT file; zip as `zipfile` does it; "
        "different values: the most in one kernel, and in one output channel "
        "of one; median of 1,000 interleaved runs on one thread; seconds of "
        "training and conversion.",
        "",
        "| way | accuracy | bytes | zipped | zeros | values: kernel | channel "
        "| ms | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {row['way']} | {row['accuracy']:.2%} | {row['bytes']:,} "
            f"| {row['zipped']:,} | {row['zeros']:.1%} | {row['kernel']} "
            f"| {row['channel']} | {row['ms']:.4f} | {row['seconds']:.0f} |"
            for row in rows
        ),
        "",
    ]
    print("\n".join(lines))
    files.write_text(pathlib.Path(options.out) / "qat.md", "\n".join(lines))


def measured(small, data, epochs, folder):
    """One dict per way."""
    console = Console()
    rows = []

    def add(way, path, start):
        row = {"way": way, "path": path, "seconds": time.monotonic() - start}
        found = runtime.predict(path, data.x_test).argmax(-1)
        accuracy = (found == data.y_test).mean()
        rows.append(
            {
                **row,
                **kernels(path),
                "accuracy": accuracy,
                "bytes": path.stat().st_size,
                "zipped": zipped_bytes(path),
            }
        )
        console.print(f"{way}: {accuracy:.2%}")

    def convert(way, model, precision, start):
        path = folder / f"{len(rows)}.tflite"
        tflite_export.convert(
            model, path, precision, representative_data=data.x_train[:300]
        )
        add(way, path, start)

    convert("float32", small, "float32", time.monotonic())
    convert("post-training int8", small, "int8", time.monotonic())
    start = time.monotonic()
    longer = trained_longer(small, data, epochs)
    convert("trained longer, post-training int8", longer, "int8", start)
    for way, settings in WAYS.items():
        start = time.monotonic()
        path = folder / f"{len(rows)}.tflite"
        qat.train(
            small,
            data.x_train,
            data.y_train,
            path,
            epochs=epochs,
            console=console,
            **settings,
        )
        add(way, path, start)
    first, *others = (row["path"] for row in rows)
    times = tflite_export.benchmark(first, others, runs=1000)
    for row, found in zip(rows, times, strict=True):
        row["ms"] = found.median_ms
    return rows


def trained_longer(small, data, epochs):
    """A copy, trained in float32 with the settings of `qat.train`."""
    keras.utils.set_random_seed(0)
    model = keras.models.clone_model(small)
    model.set_weights(small.get_weights())
    steps = epochs * -(-len(data.x_train) // 64)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(3e-4, steps)
        ),
        "sparse_categorical_crossentropy",
    )
    model.fit(
        data.x_train, data.y_train, batch_size=64, epochs=epochs, verbose=2
    )
    return model


def kernels(path):
    """Zeros and different values in the kernels of a file."""
    model = flatfile.read(path)
    zeros = weights = in_kernel = in_channel = 0
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if flatfile.kind(model, operator) not in ("CONV_2D", "FULLY_CONNECTED"):
            continue
        tensor = graph.tensors[operator.inputs[1]]
        data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
        values = data.view(
            np.int8 if len(data) == np.prod(tensor.shape) else "f4"
        )
        zeros += (values == 0).sum()
        weights += values.size
        in_kernel = max(in_kernel, len(np.unique(values)))
        for channel in values.reshape(tensor.shape):
            in_channel = max(in_channel, len(np.unique(channel)))
    return {
        "zeros": zeros / weights,
        "kernel": in_kernel,
        "channel": in_channel,
    }


if __name__ == "__main__":
    main()
