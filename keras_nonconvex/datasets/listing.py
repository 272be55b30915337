"""What a folder holds: splits; and in them classes, a table, or masks."""

import dataclasses
import warnings

import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex.datasets import pictures
from keras_nonconvex.datasets import targets

# What the folder of a split may be called.
NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
_PICTURES = "images"
# What the folder of the maps may be called, and what it holds.
_MAPS = {"masks": outputs.CLASSES, "targets": outputs.VALUES}


def of_splits(path):
    """The listings of a folder.

    Args:
        path: A `pathlib.Path`: a folder with folders `train` and perhaps
            `validation` and `test`, or without splits. Each has one folder of
            pictures for each class; or pictures and one CSV file of targets;
            or the folders `images` and `masks` (of class numbers) or
            `targets` (of values); or pictures alone.

    Returns:
        A dict of split -> `Listing`, with `"train"` the first.
    """
    folders = _folders(path)
    train = _listing(folders.pop("train"), None)
    return {
        "train": train,
        **{split: _listing(each, train) for split, each in folders.items()},
    }


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a split: their targets, or their maps.

    Attributes:
        files: A list of paths of pictures.
        kind: As in `Found`.
        classes: As in `Found`.
        y: An array of targets, or None.
        maps: A list of paths of masks, or of pictures of values; or None.
    """

    files: list
    kind: str | None = None
    classes: tuple = ()
    y: np.ndarray | None = None
    maps: list | None = None


def _folders(path):
    """{split: folder}; a folder without splits is all for training."""
    inside = {folder.name: folder for folder in subfolders(path)}
    splits = {
        split: inside[name]
        for split, names in NAMES.items()
        for name in names
        if name in inside and _has_structure(inside[name])
    }
    if splits and "train" not in splits:
        raise ValueError(
            "A folder with splits must have a folder 'train'. "
            f"Received: dataset={str(path)!r} with "
            f"{', '.join(folder.name for folder in splits.values())}"
        )
    return splits or {"train": path}


def _has_structure(folder):
    """Whether it is a split; a class of that name has pictures alone."""
    return bool(subfolders(folder)) or bool(_tables(folder))


def _listing(folder, train):
    """What a split has, in the form of the training split if there is one."""
    files, folders = files_of(folder), subfolders(folder)
    names = [each.name for each in folders]
    maps = [name for name in _MAPS if name in names]
    tables = _tables(folder) if files or not folders else []
    if _PICTURES in names and maps:
        listing = _with_maps(folder, maps[0])
    elif tables:
        listing = _with_table(folder, tables, train)
    elif folders and (not files or _are_classes(folders, train)):
        listing = _with_classes(folder, train)
        _warn_of(files, folder)
    else:
        listing = Listing(files)
    if not listing.files:
        raise nothing(folder)
    if train and (listing.kind, listing.classes) != (train.kind, train.classes):
        raise ValueError(
            "All splits must have targets of the same form, with the names of "
            f"the training split, {', '.join(train.classes[:10]) or 'none'}. "
            f"Received: {str(folder)!r} with "
            f"{', '.join(listing.classes[:10]) or 'none'}"
        )
    return listing


def _are_classes(folders, train):
    """Whether folders are of classes, although pictures lie beside them."""
    with_pictures = sum(1 for each in folders if files_of(each))
    return with_pictures >= (2 if train is None else 1)


def _with_classes(folder, train):
    files = {each.name: files_of(each) for each in subfolders(folder)}
    if train is None:
        empty = [name for name, inside in files.items() if not inside]
        if len(empty) == len(files):
            raise nothing(folder)
        if empty:
            raise ValueError(
                "Each class folder must have pictures "
                f"({', '.join(pictures.ENDINGS)}) right in it. Received: "
                f"dataset={str(folder)!r} with none in {empty[0]!r}"
            )
        classes = tuple(files)
    else:
        # Without classes there, the forms differ, which is said later.
        classes = train.classes or tuple(files)
        strange = [name for name in files if name not in classes]
        if strange:
            raise ValueError(
                "All classes must be in the training split, which has "
                f"{', '.join(classes[:10])}. Received: {str(folder)!r} with "
                f"{strange[0]!r}"
            )
    listed = [
        (file, label)
        for label, name in enumerate(classes)
        for file in files.get(name, ())
    ]
    y = np.array([label for _, label in listed], "int64")
    listed = [file for file, _ in listed]
    return Listing(listed, outputs.CLASSES, classes, y)


def _with_table(folder, tables, train):
    if len(tables) > 1:
        raise ValueError(
            "One CSV file of targets must be beside the pictures. Received: "
            f"{str(folder)!r} with {', '.join(t.name for t in tables)}"
        )
    names, y, classes, kind = targets.table(tables[0], train)
    known = _by_name(files_of(folder))
    lost = [name for name in names if name not in known]
    if lost:
        raise ValueError(
            "Every file that the table names must be beside it. Received: "
            f"{str(tables[0])!r} with {len(lost)} others such as {lost[0]!r}"
        )
    return Listing([known[name] for name in names], kind, classes, y)


def _with_maps(folder, name):
    files = files_of(folder / _PICTURES)
    known = _by_name(files_of(folder / name))
    maps = [known.get(file.name) or known.get(file.stem) for file in files]
    if None in maps:
        raise ValueError(
            f"Every picture must have one of the same name in {name!r}. "
            f"Received: {str(folder)!r} without one for "
            f"{files[maps.index(None)].name!r}"
        )
    return Listing(files, _MAPS[name], maps=maps)


def _warn_of(strays, folder):
    if strays:
        warnings.warn(
            f"Pictures beside the class folders of {str(folder)!r} are left "
            f"out, {len(strays)} in all: "
            f"{', '.join(file.name for file in strays[:3])}",
            stacklevel=2,
        )


def _by_name(files):
    """{name, with and without its ending: file}"""
    return {file.stem: file for file in files} | {
        file.name: file for file in files
    }


def nothing(path):
    return ValueError(
        "The folder must have one folder of pictures "
        f"({', '.join(pictures.ENDINGS)}) for each class, or pictures. "
        f"Received: dataset={str(path)!r}"
    )


def subfolders(path):
    return sorted(
        folder
        for folder in path.iterdir()
        if folder.is_dir() and not folder.name.startswith((".", "__"))
    )


def files_of(path):
    return sorted(file for file in path.iterdir() if pictures.is_picture(file))


def _tables(path):
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() == ".csv" and not file.name.startswith(".")
    )
