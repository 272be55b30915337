"""TFMOT's `prune_low_magnitude` beside removed filters: LeNet-5, Fashion-MNIST.

    python benchmarks/tfmot_pruning.py

Magnitude pruning starts from the dense model of the run folder `--run` (of
`benchmarks/qat.py`, which makes it); its small model is the other side.
"""

import argparse
import pathlib
import tempfile

import keras
from against import weights
from keras import ops

import tflite_export
from keras_nonconvex import datasets
from keras_nonconvex import files
from tflite_export import runtime
from tflite_export.processes import child
from tflite_export.qat import process
from tflite_export.qat.training import zipped_bytes

WORKER = pathlib.Path(__file__).with_name("tfmot_worker.py")
BATCH = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/qat", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--zeros", type=float, default=0.8)
    parser.add_argument("--out", default="benchmarks/results")
    options = parser.parse_args()
    data = datasets.load("fashion_mnist")
    dense = files.load_model(options.run / "dense.keras")
    small = files.load_model(options.run / "small.keras")
    magnitude = pruned(dense, data, options.epochs, options.zeros)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(
            {
                "dense": dense,
                "TFMOT magnitude pruning": magnitude,
                "removed filters": small,
            },
            data,
            pathlib.Path(folder),
        )
    lines = [
        "# Zeros by TFMOT beside removed filters, LeNet-5, Fashion-MNIST",
        "",
        f"    python benchmarks/tfmot_pruning.py --epochs {options.epochs} "
        f"--zeros {options.zeros}",
        "",
        "Zeros alone do not speed inference up, nor do they make the file "
        "smaller before it is zipped. Accuracy on the 10,000 test images, of "
        "the LiteRT file; int8 is post-training; median of 1,000 interleaved "
        "runs on one thread.",
        "",
        "| model | precision | weights not zero | accuracy | bytes | zipped "
        "| ms |",
        "|---|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
    ]
    print("\n".join(lines))
    path = pathlib.Path(options.out) / "tfmot_pruning.md"
    files.write_text(path, "\n".join(lines))


def pruned(dense, data, epochs, zeros):
    """A copy of the dense model that TFMOT has pruned."""
    steps = -(-len(data.x_train) // BATCH)
    settings = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": BATCH,
        "zeros": zeros,
        "seed": 0,
        "from_logits": False,
        "optimizer": {
            "class_name": "Adam",
            "config": {
                "learning_rate": {
                    "class_name": "CosineDecay",
                    "config": {
                        "initial_learning_rate": 1e-3,
                        "decay_steps": epochs * steps,
                    },
                }
            },
        },
    }
    model = keras.models.clone_model(dense)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        arrays = {"x": data.x_train, "y": data.y_train}
        job = process.write(folder, dense, data.x_test[:2], settings, arrays)
        child.run(WORKER, folder, job, lambda line: print(line, end=""))
        for name, given in weights.load(folder / "pruned.npz").items():
            model.get_layer(name).set_weights(given)
    return model


def measured(models, data, folder):
    paths, cells = [], []
    for name, model in models.items():
        left = sum(
            int((ops.convert_to_numpy(w) != 0).sum())
            for w in model.trainable_weights
        )
        for precision in ("float32", "int8"):
            path = folder / f"{len(paths)}.tflite"
            tflite_export.convert(
                model, path, precision, representative_data=data.x_train[:300]
            )
            found = runtime.predict(path, data.x_test).argmax(-1)
            cells.append(
                f"| {name} | {precision} | {left:,} "
                f"| {(found == data.y_test).mean():.2%} "
                f"| {path.stat().st_size:,} | {zipped_bytes(path):,} "
            )
            paths.append(path)
    first, *others = paths
    times = tflite_export.benchmark(first, others, runs=1000)
    return [
        f"{cell}| {found.median_ms:.4f} |"
        for cell, found in zip(cells, times, strict=True)
    ]


if __name__ == "__main__":
    main()
