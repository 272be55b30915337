"""Every precision of six networks: sizes, parity, latency.

    python benchmarks/export_precisions.py \
        [--models resnet20=mine.keras:imagenet mobilenet_v1=its.keras:symmetric]

Images are those of CIFAR-10 (Fashion-MNIST for LeNet-5), enlarged for the
MobileNets and EfficientNetB0. Networks end in logits, where relative errors
mean something, and are trained here for some minutes; two are also measured
with their initial weights. `--models` gives others and what they take: images
in [0, 1] (unit), in [-1, 1] (symmetric), or normalised by ImageNet's mean and
deviation (imagenet). Writes `results/export_precisions.md`; a row that is
there is not done again, and a network in `runs/export_precisions` not trained
again.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import tempfile
from collections.abc import Callable

import keras
import numpy as np
from rich.console import Console

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import datasets
from keras_nonconvex import files

RESULTS = pathlib.Path(__file__).parent / "results"
TRAINED = pathlib.Path("runs") / "export_precisions"
TABLE = RESULTS / "export_precisions.md"
ROWS = RESULTS / "export_precisions.json"
PRECISIONS = tuple(tflite_export.precisions.PRECISIONS)
TESTED, REPRESENTATIVE = 200, 500
BATCH = 64


def _imagenet(images):
    mean = np.array([0.485, 0.456, 0.406], "float32")
    std = np.array([0.229, 0.224, 0.225], "float32")
    return (images - mean) / std


SCALES = {
    "unit": lambda images: images,
    "symmetric": lambda images: 2 * images - 1,
    "pixels": lambda images: 255 * images,
    "imagenet": _imagenet,
}


def _application(name):
    def build(input_shape, classes):
        return getattr(keras.applications, name)(
            input_shape=input_shape, classes=classes, weights=None
        )

    return build


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    build: Callable
    pixels: int
    scale: str
    samples: int
    epochs: int


NETWORKS = {
    "LeNet-5": Network(
        "lenet5", knc.models.get("lenet5"), 28, "unit", 10_000, 2
    ),
    "ResNet-20": Network(
        "resnet20", knc.models.get("resnet20"), 32, "unit", 10_000, 2
    ),
    "MobileNetV1": Network(
        "mobilenet_v1",
        knc.models.get("mobilenet_v1"),
        48,
        "symmetric",
        50_000,
        5,
    ),
    "MobileNetV2": Network(
        "v2", _application("MobileNetV2"), 48, "symmetric", 50_000, 2
    ),
    "DenseNet-40": Network(
        "densenet40", knc.models.get("densenet40"), 32, "unit", 10_000, 2
    ),
    "EfficientNetB0": Network(
        "b0", _application("EfficientNetB0"), 48, "pixels", 50_000, 2
    ),
}
# Rows with initial weights, too. (Those of MobileNetV2 give activations so
# small that LiteRT cannot load its int16x8 file, which `convert` refuses.)
INITIAL = ["MobileNetV1", "EfficientNetB0"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    parser.add_argument("--initial", nargs="*", default=INITIAL)
    parser.add_argument("--models", nargs="*", default=[])
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.models)
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    wanted = [(title, "initial") for title in options.initial]
    for title in options.only:
        known = NETWORKS[title].name in given
        wanted.append((title, "given" if known else "trained here"))
    console = Console(soft_wrap=True)
    for title, weights in wanted:
        if f"{title}, {weights}" in rows:
            continue
        network = NETWORKS[title]
        size, scale = network.pixels, network.scale
        data = datasets.load("fashion_mnist" if size == 28 else "cifar10")
        if weights == "given":
            path, _, scale = given[network.name].partition(":")
            model = files.load_model(path)
        elif weights == "initial":
            model = initial(network, data)
        else:
            model = trained(network, data)
        rows[f"{title}, {weights}"] = {
            "size": size,
            "precisions": measured(model, data, size, SCALES[scale], console),
        }
        files.write_text(ROWS, json.dumps(rows, indent=1) + "\n")
        files.write_text(TABLE, table(rows))


def prepared(images, size, scale):
    if images.shape[1] != size:
        images = keras.ops.image.resize(images, (size, size))
    return np.asarray(scale(keras.ops.convert_to_numpy(images)), "float32")


def initial(network, data):
    keras.utils.set_random_seed(0)
    shape = (network.pixels, network.pixels, data.input_shape[-1])
    model = network.build(shape, classes=10)
    model.layers[-1].activation = keras.activations.linear
    return model


def trained(network, data):
    saved = TRAINED / f"{network.name}.keras"
    if saved.exists():
        return files.load_model(saved)
    model = initial(network, data)
    size, samples = network.pixels, network.samples
    rate = keras.optimizers.schedules.CosineDecay(
        1e-3, network.epochs * -(-samples // BATCH)
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x = prepared(data.x_train[:samples], size, SCALES[network.scale])
    y = data.y_train[:samples]
    model.fit(x, y, BATCH, network.epochs, verbose=2)
    knc.recalibrate(model, x[:2000])
    saved.parent.mkdir(parents=True, exist_ok=True)
    files.save_model(model, saved)
    return model


def measured(model, data, size, scale, console):
    x = prepared(data.x_test[:TESTED], size, scale)
    samples = prepared(data.x_train[:REPRESENTATIVE], size, scale)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        made = tflite_export.convert(
            model,
            folder / "model.{precision}.tflite",
            PRECISIONS,
            samples,
        )
        first, *others = (one.path for one in made)
        timings = tflite_export.benchmark(first, others, runs=50)
        for one, timing in zip(made, timings, strict=True):
            parity = tflite_export.check_parity(
                model, one.path, x, data.y_test[:TESTED]
            )
            console.print(str(parity), highlight=False)
            found[one.precision] = {
                "bytes": one.bytes,
                "peak_bytes": one.peak_bytes,
                "error": parity.error,
                "max_abs_diff": parity.max_abs_diff,
                "agreement": parity.agreement,
                "keras_accuracy": parity.keras_accuracy,
                "accuracy": parity.accuracy,
                "met": parity.met,
                "median_ms": timing.median_ms,
                "delegated": f"{timing.delegated}/{timing.operations}",
            }
    return found


def table(rows):
    lines = []
    for title, row in sorted(rows.items()):
        for precision, one in row["precisions"].items():
            lines.append(
                f"| {title}, {row['size']} px | {precision} "
                f"| {one['bytes'] / 1000:,.0f} | {one['error']:.2g} | "
                f"{one['max_abs_diff']:.2g} | {one['agreement']:.1%} | "
                f"{one['keras_accuracy']:.1%} | {one['accuracy']:.1%} | "
                f"{'yes' if one['met'] else 'NO'} | {one['median_ms']:.3f} | "
                f"{one['delegated']} | {one['peak_bytes'] / 1e6:,.0f} |"
            )
    return (
        f"""# Precisions

`python benchmarks/export_precisions.py` on {platform.machine()}: {TESTED}
real images, {REPRESENTATIVE} samples for the ranges of activations. Error:
root mean square of the difference to Keras, as a fraction of the standard
deviation of Keras' outputs; limits as in docs/export.md.
Latency: one thread, batch size 1, the five files of a network interleaved,
other work beside them.

| network | precision | KB | error | max difference | agreement | \
accuracy, Keras | accuracy, LiteRT | within limits | ms | delegated | \
converter's MB |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
        + "\n".join(lines)
        + "\n"
    )


if __name__ == "__main__":
    main()
