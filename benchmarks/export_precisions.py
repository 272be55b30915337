"""Every precision of six networks: sizes, parity, accuracy, latency.

    python benchmarks/export_precisions.py [--only "LeNet-5"] [--models ...]

Each network is trained for a short time on 2,000 real images, so that its
outputs are worth comparing: LeNet-5 on Fashion-MNIST, the others on CIFAR-10.
`--models resnet20=mine.keras` takes a trained one instead, whose input is
CIFAR-10 normalised by ImageNet's mean and deviation. Writes
`results/export_precisions.md`; a row that is there is not done again.
"""

import argparse
import json
import pathlib
import platform
import tempfile

import keras
import numpy as np
from rich.console import Console

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import datasets
from keras_nonconvex import files

RESULTS = pathlib.Path(__file__).parent / "results"
TABLE = RESULTS / "export_precisions.md"
ROWS = RESULTS / "export_precisions.json"
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int16x8")
TESTED, REPRESENTATIVE, TRAINED = 500, 200, 2000


def _application(name):
    def build(input_shape, classes):
        return getattr(keras.applications, name)(
            input_shape=input_shape, classes=classes, weights=None
        )

    return build


# Title -> name, network, data set, epochs.
NETWORKS = {
    "LeNet-5": ("lenet5", knc.models.get("lenet5"), "fashion_mnist", 2),
    "ResNet-20": ("resnet20", knc.models.get("resnet20"), "cifar10", 1),
    "MobileNetV1": (
        "mobilenet_v1",
        knc.models.get("mobilenet_v1"),
        "cifar10",
        1,
    ),
    "MobileNetV2": (
        "mobilenet_v2",
        _application("MobileNetV2"),
        "cifar10",
        1,
    ),
    "DenseNet-40": ("densenet40", knc.models.get("densenet40"), "cifar10", 1),
    "EfficientNetB0": (
        "efficientnet_b0",
        _application("EfficientNetB0"),
        "cifar10",
        1,
    ),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    parser.add_argument("--models", nargs="*", default=[])
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.models)
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    console = Console()
    for title in options.only:
        name, build, dataset, epochs = NETWORKS[title]
        if title in rows:
            continue
        data = datasets.load(dataset)
        if name in given:
            model, scale = files.load_model(given[name]), _imagenet
        else:
            model, scale = trained(build, data, epochs), np.asarray
        rows[title] = measured(model, data, scale, console)
        files.write_text(ROWS, json.dumps(rows, indent=1) + "\n")
        files.write_text(TABLE, table(rows))


def trained(build, data, epochs):
    keras.utils.set_random_seed(0)
    model = build(input_shape=data.input_shape, classes=len(data.classes))
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    x, y = data.x_train[:TRAINED], data.y_train[:TRAINED]
    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        x = 255 * x
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)
    return knc.recalibrate(model, x[:1000])


def _imagenet(images):
    mean = np.array([0.485, 0.456, 0.406], "float32")
    std = np.array([0.229, 0.224, 0.225], "float32")
    return (images - mean) / std


def measured(model, data, scale, console):
    x, y = scale(data.x_test[:TESTED]), data.y_test[:TESTED]
    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        x, scale = 255 * x, lambda images: 255 * images
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        made = tflite_export.convert(
            model,
            folder / "model.{precision}.tflite",
            PRECISIONS,
            scale(data.x_train[:REPRESENTATIVE]),
        )
        first, *others = (one.path for one in made)
        timings = tflite_export.benchmark(first, others, runs=100)
        for one, timing in zip(made, timings, strict=True):
            parity = tflite_export.check_parity(model, one.path, x, y)
            console.print(str(parity), highlight=False)
            found[one.precision] = {
                "bytes": one.bytes,
                "peak_bytes": one.peak_bytes,
                "error": parity.error,
                "max_abs_diff": parity.max_abs_diff,
                "agreement": parity.agreement,
                "accuracy": parity.accuracy,
                "keras_accuracy": parity.keras_accuracy,
                "met": parity.met,
                "median_ms": timing.median_ms,
                "delegated": f"{timing.delegated}/{timing.operations}",
            }
    return found


def table(rows):
    lines = []
    for title, found in rows.items():
        for precision, one in found.items():
            lines.append(
                f"| {title} | {precision} | {one['bytes'] / 1000:,.0f} | "
                f"{one['error']:.2g} | {one['max_abs_diff']:.2g} | "
                f"{one['agreement']:.1%} | {one['accuracy']:.1%} "
                f"({one['keras_accuracy']:.1%}) | "
                f"{'yes' if one['met'] else 'NO'} | {one['median_ms']:.3f} | "
                f"{one['delegated']} | {one['peak_bytes'] / 1e6:,.0f} |"
            )
    return (
        f"""# Precisions

`python benchmarks/export_precisions.py` on {platform.machine()}: networks
trained for a short time, {TESTED:,} test images, {REPRESENTATIVE} samples for
the ranges of activations. Error: root mean square of the difference to Keras,
as a fraction of the standard deviation of Keras' outputs; limits as in
`tflite_export.parity.LIMITS`. One thread, batch size 1, interleaved.

| network | precision | KB | error | max difference | agreement | \
accuracy (Keras) | within limits | ms | delegated | converter's MB |
|---|---|---|---|---|---|---|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
