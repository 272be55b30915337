"""Memory and time of training on a folder of pictures.

    python benchmarks/pictures.py --dataset cifar10 --count 30000

Writes pictures as PNG files into a temporary folder, and trains a small
network on them for one epoch, with flips and crops, for each way to keep
decoded pictures, each in a process of its own. Prints one line per way: the
peak memory beside that of Keras and the network, and CPU and wall seconds to
open the data and of the epoch.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

# Kept in memory, in files made now, in files made before, decoded anew.
WAYS = ("memory", "cache", "cached", "anew")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--size", type=int, default=32, help="of the input")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measured(*options.worker, options.size)))
        return
    print(
        "| decoded pictures | peak, GiB | open, CPU s (s) | epoch, CPU s (s) |"
    )
    print("|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        write(pathlib.Path(folder) / "photos", options.dataset, options.count)
        for way in WAYS:
            command = [sys.executable, __file__, "--worker", way, folder]
            done = subprocess.run(
                [*command, "--size", str(options.size)],
                check=True,
                capture_output=True,
                text=True,
            )
            row = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {way} | {row['peak']:.2f} "
                f"| {row['open'][0]:.1f} ({row['open'][1]:.1f}) "
                f"| {row['epoch'][0]:.1f} ({row['epoch'][1]:.1f}) |"
            )


def write(folder, dataset, count):
    import numpy as np
    from PIL import Image

    from keras_nonconvex import datasets

    data = datasets.load(dataset)
    pixels = (data.x_train[:count] * 255).round().astype(np.uint8)
    for number, picture in enumerate(pixels.squeeze()):
        where = folder / data.classes[data.y_train[number]]
        where.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(picture)
        image.save(where / f"{number}.png", compress_level=1)


def measured(way, folder, size):
    import keras
    import numpy as np

    from keras_nonconvex import datasets
    from keras_nonconvex.datasets import cache

    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, 2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    # What Keras needs by itself.
    x, y = np.zeros((256, size, size, 3)), np.zeros(256)
    model.fit(x, y, batch_size=128, verbose=0)
    before = peak()
    if way == "anew":
        cache._IN_MEMORY = 0
    start = clocks()
    data = datasets.splits(
        f"{folder}/photos",
        model,
        cache=f"{folder}/cache" if way.startswith("cache") else None,
    )
    opened = clocks()
    model.fit(
        data.train.dataset(
            128, shuffle=True, augment={"flip": True, "crop": 4}
        ),
        validation_data=data.validation.dataset(128),
        verbose=0,
    )
    return {
        "peak": peak() - before,
        "open": [b - a for a, b in zip(start, opened, strict=True)],
        "epoch": [b - a for a, b in zip(opened, clocks(), strict=True)],
    }


def peak():
    """The peak memory of this process in GiB, as Linux tells it."""
    # `getrusage` also counts what the process was started from.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20


def clocks():
    return time.process_time(), time.perf_counter()


if __name__ == "__main__":
    main()
