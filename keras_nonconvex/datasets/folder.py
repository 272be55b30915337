"""Pictures in folders: one folder for each class, a table, or masks."""

import pathlib
import warnings

import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex import ranges
from keras_nonconvex.datasets import cache
from keras_nonconvex.datasets import listing
from keras_nonconvex.datasets import pictures
from keras_nonconvex.datasets.base import Found
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import Part
from keras_nonconvex.datasets.base import spread

# Of so many broken pictures one may still be an accident.
_BROKEN = 0.05


def read(path, shape=None, most=None):
    """The pictures of a folder, decoded, in both splits.

    Args:
        path: A string or path: a folder with one folder of pictures for each
            class; or with such a folder `train` and one that is called
            `test`, `val` or `validation`; or with pictures, which then have
            no labels. Without splits, every fifth picture of a class is a
            test image.
        shape: A tuple (height, width, channels) that the pictures are resized
            to; None in it is the pictures' own. Defaults to `None`: in
            colour, of their own size, which must be the same for all.
        most: An integer: at most so many pictures are read per split, from
            all over the folder. Defaults to `None`: all of them.

    Returns:
        The `Images`.
    """
    path = pathlib.Path(path)
    train, test = (
        _split(path, names)
        for names in (
            listing.NAMES["train"],
            (*listing.NAMES["test"], *listing.NAMES["validation"]),
        )
    )
    classes = _classes(train or path)
    if train and test:
        splits = _labelled(train, classes), _labelled(test, classes)
    else:
        files = _labelled(train or path, classes)
        splits = files, files
        if classes:
            splits = _divided(files)
    if not all(splits):
        raise listing.nothing(path)
    arrays = []
    for files in splits:
        files = [files[i] for i in spread(len(files), most)]
        column = _column([file for file, _ in files], shape)
        x = column[range(len(column))].astype("float32") / 255
        labels = np.array([label for _, label in files], "int64")
        arrays += [x, labels if classes else None]
    return Images(str(path), *arrays, tuple(classes))


def found(path, wanted):
    """The splits of a folder, whose pictures are decoded once and kept.

    Args:
        path: A string or path: as of `listing.of_splits`.
        wanted: The `Wanted`.

    Returns:
        The `Found`.
    """
    path = pathlib.Path(path)
    listings = listing.of_splits(path)
    parts, broken, count = {}, {}, 0
    for split, each in listings.items():
        parts[split], reasons = _part(path, split, each, wanted)
        broken |= reasons
        count += len(each.files)
    _check_broken(path, broken, count)
    train = listings["train"]
    classes = train.classes
    if train.maps is not None and train.kind == outputs.CLASSES:
        classes = _classes_of_masks(path, parts)
    return Found(str(path), parts, classes, train.kind, broken)


def _part(path, split, listed, wanted):
    """The part of a split, and {broken file: why}."""
    x = _column(listed.files, wanted.shape, wanted.fit, wanted.antialias)
    x, bad = cache.kept(split, x, wanted.cache)
    broken = {str(listed.files[row]): why for row, why in bad.items()}
    y = listed.y
    if listed.maps is not None:
        maps = _maps(listed, wanted, x.shape)
        y, bad_maps = cache.kept(f"{split}-maps", maps, wanted.cache)
        broken |= {str(listed.maps[r]): why for r, why in bad_maps.items()}
        bad = bad | bad_maps
    rows = np.setdiff1d(np.arange(len(x)), list(bad))
    keys = [file.relative_to(path).as_posix() for file in listed.files]
    return Part(x, y, rows, keys, ranges.PIXELS), broken


def _maps(listed, wanted, shape):
    """The column of the masks of a split, or of its pictures of values.

    Args:
        listed: The `Listing`.
        wanted: The `Wanted`.
        shape: The shape of the column of pictures, which is that of the maps
            where no model says it.
    """
    shape = wanted.map_shape or shape[1:]
    if listed.kind == outputs.VALUES:
        return _column(listed.maps, shape, wanted.fit, wanted.antialias)
    return pictures.Pictures(
        listed.maps,
        lambda file: pictures.mask(file, shape[:2], wanted.fit),
        ["mask", *shape[:2], wanted.fit],
    )


def _column(files, shape, fit="stretch", antialias=True):
    return pictures.Pictures(
        files,
        lambda file: pictures.picture(file, shape, fit, antialias),
        ["picture", *(shape or ()), fit, antialias],
    )


def _check_broken(path, broken, count):
    if not broken:
        return
    some = "; ".join(f"{file} ({why})" for file, why in [*broken.items()][:3])
    if len(broken) > _BROKEN * count:
        raise ValueError(
            f"At most {_BROKEN:.0%} of the pictures may be broken. Received: "
            f"dataset={str(path)!r}, where {len(broken)} of {count} cannot be "
            f"read: {some}"
        )
    warnings.warn(
        f"{len(broken)} of {count} pictures cannot be read and are left out: "
        f"{some}",
        stacklevel=2,
    )


def _classes_of_masks(path, parts):
    """The numbers from 0 to the greatest one, as names."""
    highest = 0
    for part in parts.values():
        for some in np.array_split(part.rows, max(1, len(part.rows) // 256)):
            highest = max(highest, int(part.y[some].max(initial=0)))
    if highest in (0, 255):
        raise ValueError(
            "Masks must have class numbers from 0 up, at least two classes, "
            "and not 255 beside others. Received: "
            f"dataset={str(path)!r} with numbers up to {highest}"
        )
    return tuple(map(str, range(highest + 1)))


# ---- what `read` alone does


def _split(path, names):
    found = [path / name for name in names if (path / name).is_dir()]
    return found[0] if found and _classes(found[0]) else None


def _classes(path):
    """The names of the folders with pictures in them, in order."""
    return [
        folder.name
        for folder in listing.subfolders(path)
        if listing.files_of(folder)
    ]


def _labelled(path, classes):
    """[(file, number of its class)], class by class."""
    folders = [path / name for name in classes] or [path]
    return [
        (file, label)
        for label, folder in enumerate(folders)
        if folder.is_dir()
        for file in listing.files_of(folder)
    ]


def _divided(files):
    """Every fifth picture of each class is a test image."""
    train, test, seen = [], [], {}
    for file, label in files:
        seen[label] = seen.get(label, 0) + 1
        (test if seen[label] % 5 == 0 else train).append((file, label))
    return train, test
