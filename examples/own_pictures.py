"""A folder of pictures, and a model of one's own that Keras trains on it.

    python examples/own_pictures.py OUT [--data NAME] [--size 80] [--epochs 15]

It stands for what you have before `keras-nonconvex compress`; nothing of the
package is in the model. OUT/pictures gets a folder for each split, with a
folder for each class; OUT/mine.keras is the model. The pictures are the
flowers of TensorFlow, or where these cannot be had the digits of
scikit-learn. `make demo-photos` goes on from there.
"""

import argparse
import pathlib

import keras
from PIL import Image

import keras_nonconvex as knc

BATCH = 32


def write_pictures(folder, name, size):
    """Writes a data set as PNG files; returns the size of its pictures."""
    try:
        data = knc.datasets.splits(name, shape=(size, size, 3), fit="crop")
    except knc.datasets.NotAvailable as error:
        print(f"{error} Using 'digits' instead.")
        data = knc.datasets.splits("digits")
    for split in (data.train, data.validation, data.test):
        images, labels = split.arrays()
        for number, (image, label) in enumerate(
            zip(images, labels, strict=True)
        ):
            path = folder / split.name / data.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (255 * image).round().astype("uint8")
            Image.fromarray(pixels.squeeze()).convert("RGB").save(path)
    return images.shape[1]


def build(size, classes):
    """Residual blocks, with what one's own model has: logits of pixels."""
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    x = keras.layers.RandomTranslation(0.08, 0.08)(x)
    x = keras.layers.RandomRotation(0.04)(x)
    for width in (24, 32, 48):
        short = normalized(x, width, kernel=1, stride=2)
        x = keras.layers.ReLU()(normalized(x, width, stride=2))
        x = normalized(x, width)
        x = keras.layers.ReLU()(keras.layers.Add()([x, short]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x), name="mine")


def normalized(x, width, kernel=3, stride=1):
    x = keras.layers.Conv2D(
        width, kernel, stride, padding="same", use_bias=False
    )(x)
    return keras.layers.BatchNormalization(momentum=0.9)(x)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--data", default="tf_flowers")
    parser.add_argument("--size", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    pictures = options.out / "pictures"
    if pictures.exists():
        parser.error(f"{pictures} exists: give another folder, or remove it")
    size = write_pictures(pictures, options.data, options.size)
    train, validation = (
        keras.utils.image_dataset_from_directory(
            pictures / split, image_size=(size, size), batch_size=BATCH, seed=0
        )
        for split in ("train", "validation")
    )
    model = build(size, len(train.class_names))
    # Whole batches: TensorFlow has crashed on some smaller ones.
    steps = max(len(train.file_paths) // BATCH, 1)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(5e-3, steps * options.epochs)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        train.take(steps),
        validation_data=validation,
        epochs=options.epochs,
        shuffle=False,
        verbose=2,
    )
    model.save(options.out / "mine.keras")


if __name__ == "__main__":
    main()
