"""Decoded pictures are kept: in memory, in a file, or not at all."""

import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil

import numpy as np

from keras_nonconvex import files
from keras_nonconvex.datasets.pictures import Unreadable

# Without a cache folder, so many bytes of decoded pictures stay in memory.
_IN_MEMORY = 2**28
# Pictures that a thread decodes before it takes others.
_BLOCK = 64


class Stored:
    """A column of bytes in a `.npy` file.

    The file is mapped into memory for each access alone: what was read stays
    with the operating system, and does not count as memory of the process.

    Args:
        path: A `pathlib.Path`.
    """

    dtype = np.dtype("uint8")

    def __init__(self, path):
        self.path = path
        self.shape = self._mapped("r").shape

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return np.array(self._mapped("r")[rows])

    def __setitem__(self, rows, values):
        # Written, not mapped: on a full disk a write is an error, a map is
        # the end of the process.
        mapped = self._mapped("r")
        with self.path.open("r+b") as file:
            file.seek(mapped.offset + rows.start * mapped[0].nbytes)
            file.write(np.asarray(values, np.uint8).tobytes())

    def _mapped(self, mode):
        return np.load(self.path, mmap_mode=mode)


def kept(name, pictures, folder=None):
    """Decodes pictures once, and keeps what fits.

    With a folder they are kept in a file in it, which may take half of the
    free disk; it is made anew when a picture changes. Without one
    they are kept in memory up to 256 MiB. What does not fit is decoded again
    whenever it is asked for.

    Args:
        name: A string: what the file in the folder is called.
        pictures: The `Pictures`.
        folder: A string or path, or None. Defaults to `None`.

    Returns:
        (column, broken): the column of pictures, and a dict of the row of
        each picture that cannot be read -> why.
    """
    size = int(np.prod(pictures.shape))
    if folder is None:
        if size > _IN_MEMORY:
            return pictures, _decoded(pictures, None)
        column = np.empty(pictures.shape, pictures.dtype)
        return column, _decoded(pictures, column)
    path = pathlib.Path(folder) / f"{name}-{_digest(pictures)}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(path.parent).free / 2:
            return pictures, _decoded(pictures, None)
        write(path, pictures.shape, functools.partial(_decoded, pictures))
    return read(path)


def write(path, shape, fill):
    """Makes a file of decoded pictures, whole or not at all.

    Args:
        path: A `pathlib.Path` that ends in `-DIGEST.npy`. Files of the same
            name with other digests are removed.
        shape: The shape of the array.
        fill: A function that fills a column of that shape, and returns a
            dict of the rows that are broken -> why.
    """
    with files.replacing(path) as temporary:
        np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        broken = fill(Stored(temporary))
        # Beside it first: where there is the array, there is this.
        files.write_text(path.with_suffix(".json"), json.dumps(broken))
    name, digest = path.stem.rsplit("-", 1)
    for other in path.parent.iterdir():
        found = re.fullmatch(
            rf"{re.escape(name)}-([0-9a-f]{{16}})\.(npy|json)", other.name
        )
        if found and found[1] != digest:
            other.unlink(missing_ok=True)


def read(path):
    """What `kept` returns, of a file that `write` made."""
    broken = json.loads(path.with_suffix(".json").read_text())
    return Stored(path), {int(row): reason for row, reason in broken.items()}


def digest(*described):
    """16 hexadecimal digits that tell what a file was made of."""
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _digest(pictures):
    stats = [(os.fspath(path), os.stat(path)) for path in pictures.paths]
    return digest(
        [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats],
        pictures.settings,
    )


def _decoded(pictures, column):
    """Decodes all rows in several threads, into a column if there is one."""
    broken = {}

    def block(start):
        rows = range(start, min(start + _BLOCK, len(pictures)))
        made = np.zeros((len(rows), *pictures.shape[1:]), np.uint8)
        for row in rows:
            try:
                made[row - start] = pictures.one(row)
            except Unreadable as error:
                broken[row] = error.reason
        if column is not None:
            column[start : rows.stop] = made

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(block, range(0, len(pictures), _BLOCK)))
    return dict(sorted(broken.items()))
