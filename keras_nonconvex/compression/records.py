"""What the steps of a run have measured, on disk as soon as they are done."""

import csv
import io
import json
import shutil
import sys

import filelock

from keras_nonconvex import files
from keras_nonconvex import run_folder

try:
    import resource
except ImportError:
    # Windows has none.
    resource = None

_COLUMNS = (
    "stage",
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "zero_filters",
    "zero_weights",
    "zero_groups",
    "macs_left",
)


class Records:
    """One JSON file per step, so that processes may share a run.

    Args:
        folder: A `pathlib.Path`: the folder of these files.
    """

    def __init__(self, folder):
        self.folder = folder

    def exist(self):
        """Whether the run is still here, and not finished by another."""
        # A lock that comes too late makes the folder anew.
        return (self.folder / run_folder.BEGUN).is_file()

    def lock(self, step):
        """A lock that no other process has, as a context manager.

        It is released when a process ends, however it ends. Raises
        `filelock.Timeout` if another process has it.
        """
        return filelock.FileLock(self.folder / f"{step}.lock", timeout=0)

    def done(self, step):
        """Whether a step has written what it measured."""
        return self._path(step).is_file()

    def write(self, step, measured, seconds):
        """Says that a step is done.

        Args:
            step: Its name.
            measured: A dict.
            seconds: How long it took.
        """
        entry = {
            "measured": measured,
            "seconds": round(seconds, 2),
            "peak_bytes": _peak_bytes(),
        }
        files.write_text(self._path(step), json.dumps(entry))
        shutil.rmtree(self.backup(step), ignore_errors=True)

    def backup(self, step):
        """The folder from which the training of a step goes on."""
        return self.folder / f"{step}.backup"

    def measured(self, step):
        """What a step that is done has measured, a dict."""
        return self._read(self._path(step))["measured"]

    def costs(self):
        """{step: {"seconds", "peak_bytes"}} of all steps that are done."""
        entries = {
            path.stem: self._read(path)
            for path in sorted(
                self.folder.glob("*.json"), key=lambda p: p.stat().st_mtime
            )
        }
        return {
            step: {key: entry[key] for key in ("seconds", "peak_bytes")}
            for step, entry in entries.items()
        }

    # ---- epochs

    def record(self, step, epoch, logs):
        """Adds the row of an epoch; an epoch done again replaces its row.

        Args:
            step: The name of the step.
            epoch: Its number, from 0.
            logs: What Keras logged.
        """
        rows = [row for row in self.rows(step) if row["epoch"] <= epoch]
        logs = {name: float(value) for name, value in logs.items()}
        rows.append({"stage": step, "epoch": epoch + 1, **logs})
        files.write_text(self._rows(step), json.dumps(rows))

    def rows(self, step):
        """The rows of the epochs of a step, a list of dicts."""
        path = self._rows(step)
        return self._read(path) if path.is_file() else []

    def history(self, steps):
        """The rows of several steps as the text of a CSV file."""
        text = io.StringIO()
        writer = csv.DictWriter(
            text, _COLUMNS, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        for step in steps:
            writer.writerows(self.rows(step))
        return text.getvalue()

    def _path(self, step):
        return self.folder / f"{step}.json"

    def _rows(self, step):
        return self.folder / f"{step}.rows"

    def _read(self, path):
        return json.loads(path.read_text("utf-8"))


def _peak_bytes():
    """The most memory that this process has had, or None if nobody knows."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
