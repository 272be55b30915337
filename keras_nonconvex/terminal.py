"""The terminal: progress of long work, and tables as text."""

import contextlib
import sys
import threading

import keras
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import SpinnerColumn
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn


def console():
    """The `rich.console.Console` on which a command prints."""
    # Tables in a log file need not be as narrow as a terminal may be.
    return Console(width=None if sys.stdout.isatty() else 110)


def say(console, text):
    """Prints a line of text as it is; a terminal wraps it, a file does not.

    Args:
        console: A `rich.console.Console`.
        text: A string.
    """
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def bar(console, text, total=None):
    """Shows a progress bar while its block runs, and removes it afterwards.

    Where the output is not a terminal, `text` is printed once instead.

    Args:
        console: A `rich.console.Console`.
        text: A string that stands beside the bar.
        total: An integer: the count at which the work is done. Defaults to
            `None`: not known, and the bar only moves.

    Yields:
        A function that takes how much is done, a number up to `total`.
    """
    if not console.is_terminal:
        console.print(f"{text} ...")
        yield lambda done: None
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextlib.contextmanager
def when_slow(text, seconds=5.0):
    """Prints a line if what its block begins with takes long.

    Args:
        text: A string, the line.
        seconds: After how many seconds it is printed. Defaults to `5.0`.

    Yields:
        A function to call when that is done: the line is not printed then.
    """
    timer = threading.Timer(seconds, print, [text])
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


class Epochs(keras.callbacks.Callback):
    """Shows a bar while an epoch runs, and prints a line when it is done.

    Args:
        console: A `rich.console.Console`.
        title: A string that stands before the number of the epoch.
    """

    def __init__(self, console, title):
        super().__init__()
        self.console = console
        self.title = title

    def on_epoch_begin(self, epoch, logs=None):
        self._stack = contextlib.ExitStack()
        if self.console.is_terminal:
            text = f"{self.title} {epoch + 1}/{self.params['epochs']}"
            self._update = self._stack.enter_context(
                bar(self.console, text, self.params["steps"])
            )

    def on_train_batch_end(self, batch, logs=None):
        if self.console.is_terminal:
            self._update(batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        self._stack.close()
        parts = [f"loss {logs['loss']:.4f}"]
        if "val_accuracy" in logs:
            parts.append(f"test accuracy {logs['val_accuracy']:.4f}")
        for key in ("zero_filters", "zero_weights"):
            if key in logs:
                parts.append(f"{key.replace('_', ' ')} {logs[key]:,}")
        say(
            self.console,
            f"  {self.title} {epoch + 1}/{self.params['epochs']}: "
            f"{', '.join(parts)}",
        )


def render(renderable, width=100):
    """Returns something that rich can print, such as a table, as plain text.

    Args:
        renderable: What a `rich.console.Console` prints.
        width: An integer: the characters per line. Defaults to `100`.
    """
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()
