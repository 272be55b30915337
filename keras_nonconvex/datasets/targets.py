"""What a data set says about its samples: classes, yes or no, values, maps."""

import csv

import numpy as np

from keras_nonconvex import outputs


def kind_of(y, output=None):
    """What targets are, by the words of `outputs`; None without any.

    Args:
        y: A column of targets: whole numbers (n,) or maps of them
            (n, height, width) are classes; rows with a single 1 and zeros
            are classes, too; other zeros and ones are answers of yes or no;
            all other numbers are values.
        output: The `Output` of the model that they are for. Where it is known
            to give values, whole numbers are values, too; where it answers
            yes or no, rows with a single 1 are such answers. Defaults to
            `None`.
    """
    if y is None:
        return None
    if output is not None and output.told:
        if output.kind == outputs.VALUES:
            return outputs.VALUES
        if output.kind == outputs.YES_NO and len(y.shape) == 2:
            return outputs.YES_NO
    if len(y.shape) >= 3:
        return outputs.VALUES if y.dtype.kind == "f" else outputs.CLASSES
    y = np.asarray(y)
    if y.ndim == 2:
        if not np.isin(y, (0, 1)).all():
            return outputs.VALUES
        one_hot = y.shape[1] > 1 and (y.sum(1) == 1).all()
        return outputs.CLASSES if one_hot else outputs.YES_NO
    return outputs.VALUES if y.dtype.kind == "f" else outputs.CLASSES


def class_numbers(y):
    """Labels (n,) or one-hot (n, classes) as whole numbers (n,)."""
    y = np.asarray(y)
    return y.argmax(1) if y.ndim == 2 else y.astype("int64")


def table(path, train=None):
    """Reads a CSV file with a picture and its targets in each row.

    The first row names the columns, the first column holds the files.

    Args:
        path: A `pathlib.Path`.
        train: The `Listing` of the training split, whose classes and kind
            this one has, too. Defaults to `None`: it is that one.

    Returns:
        (files, targets, classes, kind): a list of file names; class numbers
        (n,) where the second column holds names, float32 numbers (n, columns)
        elsewhere; names of the classes or columns; what the targets are.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = [row for row in csv.reader(file) if row]
    except (ValueError, csv.Error) as error:
        raise ValueError(
            "A CSV file of targets must have a row of column names and rows "
            f"of text. Received: dataset={str(path)!r} ({error})"
        ) from error
    widths = {len(row) for row in rows}
    if len(head) < 2 or widths != {len(head)}:
        raise ValueError(
            "A CSV file of targets must have a file name and at least one "
            "target in each row, below the names of the columns. Received: "
            f"dataset={str(path)!r} with {len(head)} column names and rows of "
            f"{', '.join(map(str, sorted(widths))) or 'no'} columns"
        )
    names = [row[0].strip() for row in rows]
    texts = np.array([row[1:] for row in rows])
    try:
        values = texts.astype("float32")
    except ValueError:
        return (names, *_of_texts(path, texts, head, train))
    _check_finite(path, names, values)
    two = np.isin(values, (0, 1)).all()
    if two and (train is None or train.kind == outputs.YES_NO):
        return names, values, tuple(head[1:]), outputs.YES_NO
    return names, values, tuple(head[1:]), outputs.VALUES


def _of_texts(path, texts, head, train):
    if len(head) != 2:
        bad = next(row for row in texts if not _is_numeric(row))
        raise ValueError(
            "A CSV file of targets must have numbers, or one column of class "
            f"names. Received: dataset={str(path)!r} with "
            f"{', '.join(map(repr, bad.tolist()))}"
        )
    texts = np.char.strip(texts[:, 0])
    classes = (
        tuple(np.unique(texts).tolist()) if train is None else (train.classes)
    )
    strange = np.setdiff1d(texts, classes)
    if len(strange):
        raise ValueError(
            "All classes must be in the training split, which has "
            f"{', '.join(classes[:10])}. Received: {str(path)!r} with "
            f"{str(strange[0])!r}"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[text] for text in texts.tolist()], "int64")
    return labels, classes, outputs.CLASSES


def _is_numeric(row):
    try:
        row.astype("float32")
    except ValueError:
        return False
    return True


def _check_finite(path, names, values):
    bad = ~np.isfinite(values).all(1)
    if bad.any():
        raise ValueError(
            "The targets must be finite. Received: "
            f"dataset={str(path)!r} with {values[bad][0].tolist()} for "
            f"{names[int(bad.argmax())]!r}"
        )
