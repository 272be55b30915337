"""Latency of LiteRT files, side by side."""

import dataclasses
import os
import time

import numpy as np

from tflite_export import runtime


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference at batch size 1."""

    path: str
    median_ms: float
    p95_ms: float
    runs: int
    threads: int

    def __str__(self):
        return (
            f"{self.path}: median {self.median_ms:.4f} ms, p95 "
            f"{self.p95_ms:.4f} ms ({self.runs} runs, {self.threads} thread)"
        )


def benchmark(path, against=(), runs=500, warmup=50, threads=1, x=None):
    """Times files by interleaved runs, so that noise falls on all alike.

    In each round every file runs once, in turn; only the inference itself is
    timed.

    Args:
        path: A LiteRT file.
        against: Another file, or several, to time in the same rounds.
        runs: Rounds that count.
        warmup: Rounds before.
        threads: Threads of the runtime.
        x: Input batch of one; uniform noise if None (timing does not depend
            on values).

    Returns:
        A list of `Latency`: `path` first, then `against` in order.
    """
    if runs < 1:
        raise ValueError(
            f"Argument `runs` must be at least 1. Received: runs={runs}"
        )
    single = isinstance(against, (str, os.PathLike))
    others = [against] if single else list(against)
    paths = [str(p) for p in [path, *others]]
    models = [runtime.interpreter(p, threads) for p in paths]
    for model in models:
        (source,) = model.get_input_details()
        sample = np.random.default_rng(0).random(source["shape"])
        sample = sample if x is None else x
        model.set_tensor(source["index"], sample.astype(source["dtype"]))
    times = np.empty((runs, len(models)))
    for round_ in range(-warmup, runs):
        for column, model in enumerate(models):
            start = time.perf_counter_ns()
            model.invoke()
            elapsed = time.perf_counter_ns() - start
            if round_ >= 0:
                times[round_, column] = elapsed / 1e6
    return [
        Latency(
            file,
            float(np.median(times[:, column])),
            float(np.percentile(times[:, column], 95)),
            runs,
            threads,
        )
        for column, file in enumerate(paths)
    ]
