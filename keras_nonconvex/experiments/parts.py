"""A part of a data set, for experiments in less time."""

from keras_nonconvex import datasets


def part(data, images, seed=0):
    """A data set with fewer training images; validation and test stay.

    Args:
        data: The `datasets.Data`.
        images: An integer >= 1: at most so many training images, from all
            over the split; or None for all of them.
        seed: An integer: the seed of the choice. Defaults to `0`.

    Returns:
        A `datasets.Data`.
    """
    if images is None or images >= len(data.train):
        return data
    return datasets.splits(
        {
            "train": data.train.arrays(images, seed),
            "validation": data.validation.arrays(),
            "test": data.test.arrays(),
        }
    )
