"""Which samples are for training, validation and test: by seed, or listed."""

import json
import pathlib

import numpy as np

from keras_nonconvex import files
from keras_nonconvex.datasets.base import spread

# What is split off where a data set has no such split: a part of each class.
SHARES = {"test": 0.2, "validation": 0.1}
SPLITS = ("train", "validation", "test")


def divided(strata, missing, seed):
    """Divides samples at random, in each class alike.

    Of a class with at least three samples every split gets one.

    Args:
        strata: An integer array (n,): the class of each sample.
        missing: The splits to make beside `"train"`: a subset of `SHARES`.
        seed: An integer.

    Returns:
        A dict of split -> sorted rows of its samples.
    """
    rng = np.random.default_rng(seed)
    parts = {split: [] for split in ("train", *missing)}
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        size = len(rows)
        for split in missing:
            count = max(1, round(SHARES[split] * size))
            # Training goes first where there are too few.
            count = min(count, len(rows) - 1)
            parts[split].append(rows[:count])
            rows = rows[count:]
        parts["train"].append(rows)
    return {s: np.sort(np.concatenate(each)) for s, each in parts.items()}


def sample(size, strata, most, seed):
    """Chooses samples at random, of each stratum its share.

    Args:
        size: An integer: how many samples there are.
        strata: An array (n,) or (n, columns): the targets of the samples. What
            is equal is a stratum; numbers that are near each other go
            together. None: the samples are taken from all over their order.
        most: An integer < `size`: how many to choose.
        seed: An integer.

    Returns:
        An integer array of places, in random order.
    """
    rng = np.random.default_rng(seed)
    order = np.arange(size)
    if strata is not None:
        order = rng.permutation(size)
        keys = np.asarray(strata)[order].reshape(size, -1).T
        order = order[np.lexsort(keys[::-1])]
    return rng.permutation(order[spread(size, most, seed)])


def save(path, lists):
    """Writes what each split holds to a JSON file, whole or not at all.

    Args:
        path: A string or path.
        lists: A dict of split -> list of what its samples are called: paths
            in a folder, or numbers of rows.
    """
    files.write_text(path, json.dumps(lists, indent=1) + "\n")


def load(path):
    """Reads what `save` wrote."""
    path = pathlib.Path(path)
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
        sound = all(isinstance(lists[split], list) for split in SPLITS)
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ValueError(
            "Argument `lists` must be a JSON file that `Data.save_lists` "
            f"wrote. Received: lists={str(path)!r}"
        )
    return lists


def listed(parts, lists):
    """Finds samples again.

    Args:
        parts: A dict of split -> `Part`, as a source has them.
        lists: What `load` returns.

    Returns:
        A dict of split -> rows of the source's part of that name, or of its
        training part where it has none.
    """
    found = {}
    for split in SPLITS:
        part = parts.get(split, parts["train"])
        rows = {part.key(row): row for row in part.rows}
        lost = [key for key in lists[split] if key not in rows]
        if lost:
            raise ValueError(
                "The data set must have all samples that the lists of its "
                f"splits name. Received: {len(lost)} of {split} are gone or "
                f"broken, such as {lost[0]!r}"
            )
        found[split] = np.array([rows[key] for key in lists[split]], int)
    return found
