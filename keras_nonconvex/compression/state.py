"""What a run has measured so far, kept on disk so that it can be resumed."""

import csv
import io
import json
import time

from keras_nonconvex import files

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


class State:
    """The metrics and the history of a run.

    Args:
        paths: The `run_folder.Paths` of the run.
        resume: Whether to go on from what an interrupted run left there.

    Attributes:
        metrics: A dict, what becomes metrics.json.
        history: A list of dicts, one per stage and epoch.
    """

    def __init__(self, paths, resume):
        self._paths = paths
        saved = {"metrics": {}, "history": [], "seconds": 0.0}
        if resume and paths.state.exists():
            saved = json.loads(paths.state.read_text())
        self.metrics = saved["metrics"]
        self.history = saved["history"]
        self._seconds_before = saved["seconds"]
        self._start = time.monotonic()

    def seconds(self):
        """Seconds that the run took, those before an interruption included."""
        return self._seconds_before + time.monotonic() - self._start

    def record(self, stage, epoch, logs):
        """Adds the row of an epoch; an epoch done again replaces its row."""
        key = (stage, epoch + 1)
        row = {"stage": stage, "epoch": epoch + 1}
        row.update({name: float(value) for name, value in logs.items()})
        self.history = [
            old for old in self.history if (old["stage"], old["epoch"]) != key
        ]
        self.history.append(row)
        self.save()

    def save(self):
        """Writes what an interrupted run goes on from, and history.csv."""
        state = {
            "metrics": self.metrics,
            "history": self.history,
            "seconds": self.seconds(),
        }
        files.write_text(self._paths.state, json.dumps(state))
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        files.write_text(self._paths.history, text.getvalue())

    def write_metrics(self):
        """Writes metrics.json."""
        text = json.dumps(self.metrics, indent=1) + "\n"
        files.write_text(self._paths.metrics, text)
