"""The worker's process, seen from outside: what it gets and what it tells."""

import contextlib
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np

from keras_nonconvex import terminal
from tflite_export.qat import description

_WORKER = pathlib.Path(__file__).parent / "keras2" / "worker.py"


def write(folder, model, sample, request, data):
    """Writes the model, what its layers compute, settings and arrays."""
    nodes, output = description.describe(model)
    np.savez(folder / "weights.npz", *[w for n in nodes for w in n.weights])
    plain = [
        {key: value for key, value in vars(node).items() if key != "weights"}
        for node in nodes
    ]
    layers, expected = zip(*description.outputs(model, sample), strict=True)
    np.savez(folder / "expected.npz", *expected)
    request = {**request, "nodes": plain, "output": output, "layers": layers}
    (folder / "request.json").write_text(json.dumps(request))
    for name, array in {**data, "sample": sample}.items():
        np.save(folder / f"{name}.npy", array)


def run(folder, model, console):
    """Runs the worker in a folder; raises in a sentence what went wrong.

    Returns:
        The `Story`.
    """
    # The user's settings of Keras are not the worker's, whose modules stand
    # beside it.
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("KERAS_", "PYTHONSAFEPATH"))
    }
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    log = folder / "log.txt"
    with (
        open(log, "w") as errors,
        Story(console) as story,
        subprocess.Popen(
            [sys.executable, str(_WORKER), str(folder)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        ) as process,
    ):
        try:
            for line in process.stdout:
                story.tell(**json.loads(line))
        except BaseException:
            process.terminate()
            raise
    if story.differs:
        raise ValueError(
            "The twin in tf_keras does not compute what the model does, from "
            f"layer '{story.differs}' on. "
            f"Received: a difference of {story.twin_difference:.1e}"
        )
    if process.returncode:
        lines = log.read_text().strip().splitlines() or ["it said nothing"]
        raise RuntimeError(
            "The process that trains the twin failed: "
            f"{lines[-1][:300]} Received: exit code {process.returncode}"
        )
    return story


class Story:
    """What the worker tells, as bars and lines for a person."""

    def __init__(self, console):
        self.console = console
        self.history = []
        self.twin_difference = self.differs = None
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._show("Twin in tf_keras")
        return self

    def __exit__(self, *error):
        self._stack.close()

    def tell(self, event, **values):
        """One line of the worker: the name of a method and its arguments."""
        getattr(self, event)(**values)

    def twin(self, difference, differs):
        self.twin_difference, self.differs = difference, differs

    def epoch_begins(self, stage, epoch, epochs, steps):
        self._stage, self._place = stage, f"{stage} {epoch}/{epochs}"
        if self.console.is_terminal:
            self._show(self._place, steps)

    def batch_ends(self, done):
        if self.console.is_terminal:
            self._update(done)

    def epoch_ends(self, epoch, logs):
        self._stack.close()
        if not math.isfinite(logs["loss"]):
            raise ValueError(
                "The training diverged: lower `learning_rate`. "
                f"Received: loss {logs['loss']} in epoch {epoch}"
            )
        self.history.append({"stage": self._stage, "epoch": epoch, **logs})
        parts = [f"loss {logs['loss']:.4f}", f"accuracy {logs['accuracy']:.4f}"]
        if "val_accuracy" in logs:
            parts.append(f"validation accuracy {logs['val_accuracy']:.4f}")
        self.console.print(
            f"  {self._place}: {', '.join(parts)}",
            highlight=False,
            soft_wrap=True,
        )

    def conversion(self):
        self._show("Conversion")

    def _show(self, text, total=None):
        """A bar in the place of the one before."""
        self._stack.close()
        self._update = self._stack.enter_context(
            terminal.bar(self.console, text, total)
        )
