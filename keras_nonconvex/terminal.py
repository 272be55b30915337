"""The terminal: progress of long work, lines and tables."""

import contextlib
import shutil
import sys
import threading
import time

import keras
from rich import box
from rich.console import Console
from rich.console import Group
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import SpinnerColumn
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def console():
    """The `rich.console.Console` on which a command prints."""
    # Tables in a log file need not be as narrow as a terminal may be.
    return Console(width=None if sys.stdout.isatty() else 110)


def say(console, text, style=None):
    """Prints a sentence or a line: a terminal wraps it, a file does not.

    Args:
        console: A `rich.console.Console`.
        text: A string.
        style: A style of rich, such as `"yellow"`. Defaults to `None`.
    """
    console.print(
        text,
        style=style,
        markup=False,
        highlight=False,
        soft_wrap=not console.is_terminal,
    )


@contextlib.contextmanager
def bar(console, text, total=None):
    """Shows a progress bar while its block runs, and removes it afterwards.

    Where the output is not a terminal, `text` is printed instead, and a line
    on what is done after every ten seconds.

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
        yield _lines(console, text, total)
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


def _lines(console, text, total, every=10.0):
    """What `bar` yields where there is no terminal."""
    begin = last = time.monotonic()

    def update(done):
        nonlocal last
        now = time.monotonic()
        if not total or not done or now - last < every:
            return
        last = now
        part = min(done / total, 1.0)
        left = (now - begin) * (1.0 - part) / part
        say(console, f"{text}: {part:.0%}, about {left:.0f} s left")

    return update


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
        measure: The name of a metric that is shown, too. Defaults to
            `"accuracy"`.
    """

    def __init__(self, console, title, measure="accuracy"):
        super().__init__()
        self.console = console
        self.title = title
        self.measure = measure

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
        validated = logs.get(f"val_{self.measure}")
        if validated is not None:
            words = self.measure.replace("_", " ")
            parts.append(f"validation {words} {validated:.4f}")
        for key in ("zero_filters", "zero_weights"):
            if key in logs:
                parts.append(f"{key.replace('_', ' ')} {logs[key]:,}")
        say(
            self.console,
            f"  {self.title} {epoch + 1}/{self.params['epochs']}: "
            f"{', '.join(parts)}",
        )


def table(*columns):
    """A table that can be read in 80 columns.

    The columns after the first hold numbers and such, which stay whole; the
    first one gets the room that they leave.

    Args:
        *columns: The headings, strings of one or two lines. One that ends in
            `"<"` aligns its column to the left.

    Returns:
        A `rich.table.Table`.
    """
    made = Table(
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    first, *others = columns
    made.add_column(first, vertical="top")
    for heading in others:
        made.add_column(
            heading.removesuffix("<"),
            justify="left" if heading.endswith("<") else "right",
            no_wrap=True,
        )
    return made


def titled(title, made, note=None):
    """A table below its title, which may be wider.

    Args:
        title: A string.
        made: A rich renderable.
        note: A string that stands below the table. Defaults to `None`.
    """
    return Group(Text(title, "bold"), made, *([Text(note)] if note else []))


class Name:
    """A layer's path and class, shortened where a table has no room for them.

    The end of the path stays: it tells the layers of a nested model apart.

    Args:
        path: A string such as `"model/layer"`.
        kind: A string that stands after it, the class. Defaults to `""`.
    """

    def __init__(self, path, kind=""):
        self.path = path
        self.kind = kind

    def within(self, width):
        """The path and the kind in so many characters, as two strings.

        Args:
            width: An integer >= 1.
        """
        own = self.path.rpartition("/")[2]
        # The models around a layer give way first, then its class.
        room = width - 1 - min(len(self.path), len(own) + 2)
        kind = _shortened(self.kind, max(room, 0), at_left=False)
        if len(kind) < min(len(self.kind), 4):
            kind = ""
        left = width - len(kind) - 1 if kind else width
        return _shortened(self.path, left, at_left=True), kind

    def __rich_measure__(self, console, options):
        full = len(self.path) + 1 + len(self.kind)
        return Measurement(min(full, 16), full)

    def __rich_console__(self, console, options):
        path, kind = self.within(options.max_width)
        yield Text.assemble(path, " " if kind else "", (kind, "dim"))


def _shortened(text, width, at_left):
    if len(text) <= width:
        return text
    left = max(width - 1, 0)
    kept = text[len(text) - left :] if at_left else text[:left]
    dots = "\N{HORIZONTAL ELLIPSIS}"[:width]
    return f"{dots}{kept}" if at_left else f"{kept}{dots}"


def noted(name, note):
    """A cell with a remark under what it shows.

    Args:
        name: A rich renderable.
        note: A string. If it is empty, there is no second line.
    """
    if not note:
        return name
    return Group(
        name, Padding(Text(note, "dim", overflow="fold"), (0, 0, 0, 2))
    )


def number(n):
    """A count in at most five characters: 999, 1.23k, 45.6k, 789k, 1.23M.

    Args:
        n: An integer >= 0.
    """
    if n < 1000:
        return str(n)
    for unit in "kMGT":
        n /= 1000
        # What would round up to 1000 is one of the next unit.
        if n < 999.5:
            digits = 2 if n < 9.995 else 1 if n < 99.95 else 0
            return f"{n:.{digits}f}{unit}"
    return f"{n:.0f}T"


def change(before, after):
    """Two counts in at most fourteen characters, or the one that they are.

    Args:
        before: An integer >= 0.
        after: An integer >= 0.
    """
    if before == after:
        return number(before)
    return f"{number(before)} -> {number(after)}"


def render(renderable, width=None):
    """Returns something that rich can print, such as a table, as plain text.

    Args:
        renderable: What a `rich.console.Console` prints.
        width: An integer: the characters per line. Defaults to `None`: the
            width of the terminal, or 100 where there is none.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    lines = capture.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)
