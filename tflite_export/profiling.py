"""Where does the time of a LiteRT file go? Operation by operation."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import tempfile

import numpy as np

from keras_nonconvex import checks
from tflite_export import runtime
from tflite_export.processes import child
from tflite_export.processes import profiler


class ProfilingNotAvailable(RuntimeError):
    """The installed LiteRT does not tell the times of single operations."""


@dataclasses.dataclass(frozen=True)
class OpTime:
    """One operation as LiteRT ran it.

    Attributes:
        index: In the order of execution.
        name: Of XNNPACK's kernel, "Convolution (NHWC, F32) IGEMM", or of the
            file's operation where XNNPACK has none, "AVERAGE_POOL_2D". XNNPACK
            splits and joins operations, so these are not those of the file.
        calls: How often it was timed.
        mean_us: Mean microseconds over the middle half of the calls.
        share: Fraction of the sum over all operations.
    """

    index: int
    name: str
    calls: int
    mean_us: float
    share: float

    def __str__(self):
        return f"{self.mean_us:10.1f} us {self.share:6.1%}  {self.name}"


def profile(path, runs=100, warmup=10, threads=1, x=None, amx=False):
    """Times each operation of a file, in a process of its own.

    LiteRT cuts times to whole microseconds: what takes less counts as zero,
    and the operations add up to less than the run.

    Args:
        path: A LiteRT file.
        runs: Runs that count.
        warmup: Runs before.
        threads: Threads of the runtime.
        x: Input batch, as the Keras model takes it; uniform noise if None.
        amx: As for `benchmark`.

    Returns:
        A tuple of `OpTime`, in the order of execution.

    Raises:
        ProfilingNotAvailable: The reason is in the message.
    """
    checks.whole("runs", runs, 1)
    checks.whole("warmup", warmup, 0)
    checks.whole("threads", threads, 1)
    (source,) = runtime.interpreter(path).get_input_details()
    shape = tuple(source["shape"].tolist())
    if x is None:
        x = np.random.default_rng(0).random(shape)
    if np.shape(x) != shape:
        raise ValueError(
            f"The file takes inputs of shape {shape}. Received: {np.shape(x)}"
        )
    found = _measured(
        runtime.quantized(x, source).tobytes(),
        library=_library(),
        path=os.fspath(path),
        threads=threads,
        runs=runs,
        warmup=warmup,
        amx=amx,
    )
    times = np.sort(np.asarray(found["times"], float), axis=0)
    middle = times[runs // 4 : runs - runs // 4].mean(axis=0)
    if not middle.any():
        raise ProfilingNotAvailable(
            "Every operation takes less than the microsecond that LiteRT can "
            f"tell. Received: path={str(path)!r}"
        )
    shares = middle / middle.sum()
    rows = zip(found["names"], middle.tolist(), shares.tolist(), strict=True)
    return tuple(
        OpTime(index, name, runs, mean_us, share)
        for index, (name, mean_us, share) in enumerate(rows)
    )


def _library():
    """Path of a library that `profiler` knows."""
    version = importlib.metadata.version("ai-edge-litert")
    if version not in profiler.VERSIONS:
        raise ProfilingNotAvailable(
            "Single operations can be timed with ai-edge-litert "
            f"{', '.join(profiler.VERSIONS)}. Received: version={version!r}"
        )
    package = importlib.util.find_spec("ai_edge_litert")
    return str(pathlib.Path(package.origin).with_name("libLiteRt.so"))


def _measured(content, **job):
    """What `profiler.profile` returns there."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "input").write_bytes(content)
        try:
            found = child.run(profiler.__file__, folder, job)
        except child.Failed as error:
            found = {"message": str(error)}
    reason = found.get("message")
    if not reason:
        # Operations run one after the other. Two readings of a clock make a
        # time at most a microsecond too long.
        times = np.asarray(found["times"])
        if times.sum() > sum(found["totals"]) + times.size:
            reason = "LiteRT's operations take longer than its runs"
    if reason:
        raise ProfilingNotAvailable(f"{reason}. Received: path={job['path']!r}")
    return found
