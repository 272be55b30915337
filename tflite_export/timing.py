"""Latency of LiteRT files, side by side."""

import dataclasses
import json
import os
import pathlib
import platform
import tempfile

import ai_edge_litert
import numpy as np
from rich.text import Text

from keras_nonconvex import checks
from keras_nonconvex import terminal
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export.processes import child
from tflite_export.processes import timer


@dataclasses.dataclass(frozen=True)
class Latency:
    """The time of one inference of a file, and what the inference runs.

    Attributes:
        path: str. The file.
        median_ms: float. The median of one inference, in milliseconds.
        p95_ms: float. The 95th percentile of one inference, in milliseconds.
        runs: int. How many inferences were timed.
        threads: int. How many threads the runtime used.
        bytes: int. The size of the file in bytes.
        macs: int. The multiply-adds of one inference.
        operations: int. How many operations the file has.
        delegated: int. How many of them the delegate (XNNPACK) runs.
        parts: int. How many parts the delegated operations form; each part
            costs a hand-over.
    """

    path: str
    median_ms: float
    p95_ms: float
    runs: int
    threads: int
    bytes: int
    macs: int
    operations: int
    delegated: int
    parts: int

    def __str__(self):
        return (
            f"{self.path}: median {self.median_ms:.4f} ms, p95 "
            f"{self.p95_ms:.4f} ms ({self.runs} runs, {self.threads} "
            f"thread{'s' * (self.threads > 1)}), {self.macs:,} MACs, "
            f"{self.delegated} of {self.operations} operations delegated in "
            f"{self.parts} part{'s' * (self.parts != 1)}"
        )


def benchmark(
    path,
    against=(),
    runs=500,
    warmup=50,
    threads=1,
    amx=False,
    progress=None,
):
    """Times files by interleaved runs, so that noise falls on all alike.

    In each round every file runs once, in turn; only the inference itself is
    timed, in a process of its own. The inputs are random: times do not depend
    on values.

    Args:
        path: str or path. A LiteRT file.
        against: Another file, or a list of files, to time in the same rounds.
            Defaults to `()`.
        runs: int >= 1. The number of timed rounds. Defaults to `500`.
        warmup: int >= 0. The number of untimed rounds before them. Defaults
            to `50`.
        threads: int >= 1. How many threads the runtime uses. Defaults to `1`.
        amx: bool. Whether to use Intel's matrix unit where there is one. No
            phone has it, and for int8 it hides what pruning brings: its
            kernels take as long for 16 channels as for 64. Defaults to
            `False`.
        progress: Function that is called now and then with the number of
            rounds that are done. Defaults to `None`.

    Returns:
        A list of `Latency`: that of `path` first, then those of `against` in
        order.

    Example:
    >>> small, dense = tflite_export.benchmark(
    ...     "small.int8.tflite", against="dense.int8.tflite"
    ... )
    >>> print(small.median_ms / dense.median_ms)
    """
    checks.whole("runs", runs, 1)
    checks.whole("warmup", warmup, 0)
    checks.whole("threads", threads, 1)
    single = isinstance(against, (str, os.PathLike))
    others = [against] if single else list(against)
    paths = [str(p) for p in [path, *others]]
    # A bad file is refused here, before any timing.
    models = [runtime.interpreter(p, threads) for p in paths]
    times = _times(
        {
            "paths": paths,
            "runs": runs,
            "warmup": warmup,
            "threads": threads,
            "amx": amx,
        },
        progress,
    )
    return [
        _latency(file, model, np.array(column), threads)
        for file, model, column in zip(paths, models, times, strict=True)
    ]


def _times(job, progress):
    """Milliseconds of each file's runs, a list for each."""
    told = progress and (lambda line: progress(int(line)))
    with tempfile.TemporaryDirectory() as folder:
        try:
            return child.run(timer.__file__, folder, job, told)
        except child.Failed as error:
            raise RuntimeError(
                f"{error}. Received: {', '.join(job['paths'])}"
            ) from error


def _latency(path, model, times, threads):
    file = flatfile.read(path)
    delegated, parts = runtime.delegation(model)
    return Latency(
        path=path,
        median_ms=float(np.median(times)),
        p95_ms=float(np.percentile(times, 95)),
        runs=len(times),
        threads=threads,
        bytes=pathlib.Path(path).stat().st_size,
        macs=flatfile.macs(file),
        operations=sum(flatfile.operations(file).values()),
        delegated=len(delegated),
        parts=parts,
    )


def table(timings):
    """A rich table; ratios are to the last of the timings, the baseline."""
    base = timings[-1]
    made = terminal.table(
        "file",
        *("median\nms", "p95\nms", "latency\nratio", "MACs\nratio"),
        *("MACs", "KB", "delegated"),
    )
    names = _short([one.path for one in timings])
    for one, name in zip(timings, names, strict=True):
        made.add_row(
            Text(name, overflow="fold"),
            f"{one.median_ms:.4g}",
            f"{one.p95_ms:.4g}",
            f"{one.median_ms / base.median_ms:.3f}",
            f"{one.macs / base.macs:.3f}" if base.macs else "",
            terminal.number(one.macs),
            f"{one.bytes / 1000:,.1f}",
            f"{one.delegated}/{one.operations} in {one.parts}",
        )
    return made


def _short(paths):
    """The names of files, after the folders in which they differ."""
    folders = [pathlib.Path(path).absolute().parent for path in paths]
    common = os.path.commonpath(folders)
    return [os.path.relpath(path, common) for path in paths]


def to_json(timings):
    """The timings and the machine they were taken on, as JSON text."""
    machine = {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "ai_edge_litert": ai_edge_litert.__version__,
    }
    rows = [dataclasses.asdict(one) for one in timings]
    return json.dumps({**machine, "timings": rows}, indent=1) + "\n"
