"""The worker's process, seen from outside: what it gets and what it tells."""

import contextlib
import json
import math
import pathlib

import numpy as np

from keras_nonconvex import terminal
from tflite_export.processes import child
from tflite_export.qat import description

_WORKER = pathlib.Path(__file__).parent / "keras2" / "worker.py"


def write(folder, model, sample, settings, data):
    """Writes the model's weights, what its layers compute, and arrays.

    Args:
        folder: The worker's folder.
        model: The Keras model.
        sample: A few inputs on which the twin is compared with the model.
        settings: What the worker has to do, as plain data.
        data: {name: array} of what the worker trains on.

    Returns:
        The worker's job: the settings and the twin's layers.
    """
    nodes, output = description.describe(model)
    np.savez(folder / "weights.npz", *[w for n in nodes for w in n.weights])
    plain = [
        {key: value for key, value in vars(node).items() if key != "weights"}
        for node in nodes
    ]
    layers, expected = zip(*description.outputs(model, sample), strict=True)
    np.savez(folder / "expected.npz", *expected)
    for name, array in {**data, "sample": sample}.items():
        np.save(folder / f"{name}.npy", array)
    return {**settings, "nodes": plain, "output": output, "layers": layers}


def run(folder, job, console):
    """Runs the worker in a folder; raises in a sentence what went wrong.

    Args:
        folder: Where `write` wrote.
        job: What `write` returned.
        console: A rich console.

    Returns:
        The `Story`.
    """
    with Story(console) as story:
        try:
            child.run(_WORKER, folder, job, story.tell)
        except child.Failed as error:
            if story.differs:
                raise ValueError(
                    "The twin in tf_keras does not compute what the model "
                    f"does, from layer '{story.differs}' on. Received: a "
                    f"difference of {story.twin_difference:.1e}"
                ) from error
            raise RuntimeError(
                f"The twin was not trained: {error}. "
                f"Received: a model of {len(job['layers'])} layers"
            ) from error
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

    def tell(self, line):
        """One line of the worker: the name of a method and its arguments."""
        values = json.loads(line)
        getattr(self, values.pop("event"))(**values)

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
        terminal.say(self.console, f"  {self._place}: {', '.join(parts)}")

    def conversion(self):
        self._show("Conversion")

    def _show(self, text, total=None):
        """A bar in the place of the one before."""
        self._stack.close()
        self._update = self._stack.enter_context(
            terminal.bar(self.console, text, total)
        )
