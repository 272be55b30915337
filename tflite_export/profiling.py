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
        index: int. Its place in the order of execution.
        name: str. The name of XNNPACK's kernel, such as "Convolution (NHWC,
            F32) IGEMM"; where XNNPACK has none, that of the file's operation,
            such as "AVERAGE_POOL_2D". XNNPACK splits and joins operations, so
            these are not the operations of the file.
        calls: int. How often it was timed.
        mean_us: float. Its mean time in microseconds over the middle half of
            the calls.
        share: float in [0, 1]. Its fraction of the sum over all operations.
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
        path: str or path. A LiteRT file.
        runs: int >= 1. The number of timed runs. Defaults to `100`.
        warmup: int >= 0. The number of untimed runs before them. Defaults to
            `10`.
        threads: int >= 1. How many threads the runtime uses. Defaults to `1`.
        x: Array with the shape of the file's input: one batch, as the Keras
            model takes it. Defaults to `None`: uniform noise in [0, 1).
        amx: bool. Whether to use Intel's matrix unit, see `benchmark`.
            Defaults to `False`.

    Returns:
        A tuple of `OpTime`, in the order of execution.

    Raises:
        ProfilingNotAvailable: The installed LiteRT does not tell these times;
            the message says why.

    Example:
    >>> for operation in tflite_export.profile("model.tflite"):
    ...     print(operation)
    """
    checks.whole("runs", runs, 1)
    checks.whole("warmup", warmup, 0)
    checks.whole("threads", threads, 1)
    source, _ = runtime.ends(runtime.interpreter(path), path)
    shape = tuple(source["shape"].tolist())
    if x is None:
        x = np.random.default_rng(0).random(shape)
    if np.shape(x) != shape:
        raise ValueError(
            f"The file takes inputs of shape {shape}. Received: {np.shape(x)}"
        )
    measured = _measured(
        runtime.quantized(x, source).tobytes(),
        library=_library(),
        path=os.fspath(path),
        threads=threads,
        runs=runs,
        warmup=warmup,
        amx=amx,
    )
    times = np.sort(np.asarray(measured["times"], float), axis=0)
    middle = times[runs // 4 : runs - runs // 4].mean(axis=0)
    if not middle.any():
        raise ProfilingNotAvailable(
            "Every operation takes less than the microsecond that LiteRT can "
            f"tell. Received: path={str(path)!r}"
        )
    shares = middle / middle.sum()
    rows = zip(measured["names"], middle.tolist(), shares.tolist(), strict=True)
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
    """What `profiler.profile` returns, run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "input").write_bytes(content)
        try:
            result = child.run(profiler.__file__, folder, job)
        except child.Failed as error:
            result = {"message": str(error)}
    reason = result.get("message")
    if not reason:
        # Operations run one after the other. Two readings of a clock make a
        # time at most a microsecond too long.
        times = np.asarray(result["times"])
        if times.sum() > sum(result["totals"]) + times.size:
            reason = "LiteRT's operations take longer than its runs"
    if reason:
        raise ProfilingNotAvailable(f"{reason}. Received: path={job['path']!r}")
    return result
