"""The rows of an experiment, which add up over several sittings."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

import filelock
import keras
import numpy as np

from keras_nonconvex import files
from keras_nonconvex.version import __version__


class Table:
    """Rows in a JSON file, and the table that people read next to it.

    A row is written as soon as it is known, and one that is there is not made
    again, so a run may be stopped and started anew, and several processes may
    share a file.

    Args:
        path: A string or path: the JSON file. The table gets the suffix
            `.md`.
        title: A string: the heading of the table.
        columns: A dict of the heading of each column to its cell: a function
            of the list of rows that differ by their seed alone, which
            returns a string.
        notes: A sequence of strings: what a reader has to know.
    """

    def __init__(self, path, title, columns, notes=()):
        self.path = pathlib.Path(path)
        self.title = title
        self.columns = columns
        self.notes = notes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(f"{self.path}.lock")

    @property
    def rows(self):
        """A list of dicts: all that is known."""
        if not self.path.is_file():
            return []
        return json.loads(self.path.read_text(encoding="utf-8"))

    def row(self, settings, make):
        """Makes a row that is not there yet.

        Args:
            settings: A dict of strings, numbers and None that tells the row
                from all others, `"seed"` among them.
            make: A function without arguments that returns a dict of what was
                measured.

        Returns:
            The row: both dicts, and by what and when it was made.
        """
        for row in self.rows:
            if settings.items() <= row.items():
                return row
        row = {
            **settings,
            **make(),
            "date": datetime.date.today().isoformat(),
            "made_by": made_by(),
        }
        with self._lock:
            rows = [*self.rows, row]
            files.write_text(self.path, json.dumps(rows, indent=1) + "\n")
            files.write_text(self.path.with_suffix(".md"), self.markdown(rows))
        return row

    def markdown(self, rows):
        """The table as text, one line for the seeds of a setting.

        Args:
            rows: A list of dicts.
        """
        made = dict.fromkeys(f"{row['date']}, {row['made_by']}" for row in rows)
        lines = [
            f"# {self.title}",
            "",
            *(f"- {note}" for note in (*self.notes, *made)),
            "",
            f"| {' | '.join(self.columns)} |",
            f"|{'---|' * len(self.columns)}",
        ]
        for group in over_seeds(rows, self._settings(rows)):
            cells = (cell(group) for cell in self.columns.values())
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def _settings(self, rows):
        """What tells rows apart: the keys that stand before the seed."""
        keys = list(dict.fromkeys(key for row in rows for key in row))
        return keys[: keys.index("seed")]


def columns(settings, shares, digits=1):
    """The columns of a table: settings, shares in percent, and the seeds.

    Args:
        settings: The keys of settings, a sequence; None is shown as "-".
        shares: The keys of measured numbers in [0, 1], a sequence: the mean
            over seeds with the smallest and largest value, in percent.
        digits: An integer: the digits behind the point. Defaults to `1`.

    Returns:
        A dict for `Table`.
    """

    def setting(key):
        return lambda rows: "-" if rows[0][key] is None else str(rows[0][key])

    def share(key):
        return lambda rows: spread(rows, key, f"{{:.{digits}f}}", 100.0)

    return {
        **{key: setting(key) for key in settings},
        **{f"{key}, %": share(key) for key in shares},
        "seeds": lambda rows: str(len(rows)),
    }


def over_seeds(rows, keys):
    """Groups of rows that have the same values of some keys.

    Args:
        rows: A list of dicts.
        keys: The keys.

    Returns:
        A list of lists of rows, in the order of the first of each.
    """
    groups = {}
    for row in rows:
        key = tuple(json.dumps(row.get(key)) for key in keys)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def spread(rows, key, text="{:.2f}", scale=1.0):
    """The mean over seeds, with the smallest and largest value.

    Args:
        rows: A list of dicts.
        key: The key of a number.
        text: A format of one number. Defaults to `"{:.2f}"`.
        scale: A factor, such as 100 for percent. Defaults to `1.0`.

    Returns:
        A string such as `"91.20 (90.90 to 91.50)"`, or the number alone where
        there is one seed; a dash where there is no number.
    """
    values = scale * np.asarray([row[key] for row in rows], "float64")
    if np.isnan(values).any():
        return "-"
    mean = text.format(values.mean())
    if len(values) == 1:
        return mean
    return (
        f"{mean} ({text.format(values.min())} to {text.format(values.max())})"
    )


def made_by():
    """The versions and the machine that a row was made by."""
    backend = keras.backend.backend()
    return (
        f"keras-nonconvex {__version__}, Keras {keras.__version__}, {backend} "
        f"{importlib.metadata.version(backend)}, Python "
        f"{platform.python_version()}; {platform.machine()}, "
        f"{os.cpu_count()} cores"
    )
