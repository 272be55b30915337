"""Latency of LiteRT files, side by side."""

import dataclasses
import json
import os
import pathlib
import platform
import tempfile

import ai_edge_litert
import numpy as np
from rich.table import Table

from keras_nonconvex import checks
from tflite_export import flatfile
from tflite_export import runtime
from tflite_export.processes import child
from tflite_export.processes import timer


@dataclasses.dataclass(frozen=True)
class Latency:
    """One inference of a file, and what it consists of.

    Attributes:
        path: The file.
        median_ms, p95_ms: Milliseconds of one inference.
        runs, threads: How it was measured.
        bytes: Of the file.
        macs: Multiply-adds of one inference.
        operations: How many operations the file has.
        delegated: How many of them the delegate (XNNPACK) runs.
        parts: Into how many parts these fall; each costs a hand-over.
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
    timed, in a process of its own.

    Args:
        path: A LiteRT file.
        against: Another file, or several, to time in the same rounds.
        runs: Rounds that count.
        warmup: Rounds before.
        threads: Threads of the runtime.
        amx: Use Intel's matrix unit where there is one. No phone has it, and
            for int8 it hides what pruning brings: its kernels take as long
            for 16 channels as for 64.
        progress: Called with the number of rounds done, now and then.

    Returns:
        A list of `Latency`: `path` first, then `against` in order.
    """
    checks.whole("runs", runs, 1)
    checks.whole("warmup", warmup, 0)
    checks.whole("threads", threads, 1)
    single = isinstance(against, (str, os.PathLike))
    others = [against] if single else list(against)
    paths = [str(p) for p in [path, *others]]
    # Here, since the error of a bad file should come before any timing.
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
    made = Table()
    made.add_column("file", overflow="fold")
    for name in (
        "median ms",
        "p95 ms",
        "latency ratio",
        "MACs ratio",
        "MACs",
        "KB",
        "delegated",
    ):
        made.add_column(name, justify="right")
    for one in timings:
        made.add_row(
            pathlib.Path(one.path).name,
            f"{one.median_ms:.4f}",
            f"{one.p95_ms:.4f}",
            f"{one.median_ms / base.median_ms:.3f}",
            f"{one.macs / base.macs:.3f}" if base.macs else "",
            f"{one.macs:,}",
            f"{one.bytes / 1000:,.1f}",
            f"{one.delegated}/{one.operations} in {one.parts}",
        )
    return made


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
