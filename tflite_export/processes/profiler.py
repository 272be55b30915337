"""LiteRT's own profiler, through the C functions of its wheel's library.

It has no Python interface, and a wrong guess about C functions can end the
process. So this is a script for a process of its own: `python -P profiler.py
FOLDER` reads FOLDER/job.json and FOLDER/input, the bytes of the input tensor,
and writes FOLDER/result.json.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import sys
import time

# Functions, structures and numbers are those of litert/c/*.h at LiteRT's tags
# v2.1.6 and v2.2.0 and of its main branch in August 2026, the coming 2.3.0.
VERSIONS = ("2.1.6", "2.2.0", "2.3.0")

# litert_common.h: kLiteRtHwAcceleratorCpu, kLiteRtTensorBufferLockModeWrite,
# and the LiteRtParamIndex of the first input, output or signature.
_CPU, _WRITE, _FIRST = 1, 1, ctypes.c_size_t(0)
# litert_model_types.h: LiteRtRankedTensorType, here only handed on.
_TensorType = ctypes.c_char * 72
# litert_profiler_event.h: OPERATOR_INVOKE_EVENT, an operation of the file, and
# DELEGATE_PROFILED_OPERATOR_INVOKE_EVENT, one of a delegate; a delegate that
# has these has no event for itself.
_OPERATIONS = (1 << 1, 1 << 3)


class _Event(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        # LiteRtMemoryUsage, before and after.
        ("memory", ctypes.c_size_t * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    ]


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _keep(payload):
    """The destructor of what Python owns."""


class Failed(Exception):
    """The library is not the one that these calls are for."""


class _Library:
    """LiteRT's C functions; leaving it destroys what they made."""

    def __init__(self, path):
        try:
            self._functions = ctypes.CDLL(path)
        except OSError as error:
            raise Failed(f"LiteRT's library does not load ({error})") from error
        self._made = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._made.close()

    def function(self, name):
        try:
            return getattr(self._functions, f"LiteRt{name}")
        except AttributeError:
            raise Failed(f"LiteRT has no function LiteRt{name}") from None

    def call(self, name, *arguments):
        status = self.function(name)(*arguments)
        if status != 0:
            raise Failed(f"LiteRt{name} returned status {status}")

    def get(self, name, *arguments, kind=ctypes.c_void_p):
        """What a function writes where its last argument points."""
        value = kind()
        self.call(name, *arguments, ctypes.byref(value))
        return value

    def make(self, noun, how, *arguments):
        """The handle of a new thing that the caller owns."""
        destroy = self.function(f"Destroy{noun}")
        handle = self.get(f"Create{how}", *arguments)
        self._made.callback(destroy, handle)
        return handle


class _Model:
    """A file with one input and one output, ready to run on the CPU.

    Args:
        library: The `_Library`, which outlives it.
        path: The file.
        threads: How many threads the runtime uses.
        content: The bytes of the input tensor.
    """

    def __init__(self, library, path, threads, content):
        self._library = library
        make, get, call = library.make, library.get, library.call
        self._environment = make("Environment", "Environment", 0, None)
        options = make("Options", "Options")
        call("SetOptionsHardwareAccelerators", options, _CPU)
        # Keys and texts of options/litert_{runtime,cpu}_options.cc.
        self._settings = {
            b"runtime_options_string": b"enable_profiling = true\n",
            b"xnnpack": b"num_threads = %d\n" % threads,
        }
        for key, text in self._settings.items():
            # Once added it belongs to the options.
            setting = get("CreateOpaqueOptions", key, text, _keep)
            call("AddOpaqueOptions", options, setting)
        file = make(
            "Model", "ModelFromFile", self._environment, os.fsencode(path)
        )
        self._compiled = make(
            "CompiledModel", "CompiledModel", self._environment, file, options
        )
        self._profiler = get("CompiledModelGetProfiler", self._compiled)
        signature = get("GetModelSignature", file, _FIRST)
        self._input = self._buffer("Input", signature)
        self._output = self._buffer("Output", signature)
        self._write(content)

    def _buffer(self, side, signature):
        get = self._library.get
        tensor = get(f"GetSignature{side}TensorByIndex", signature, _FIRST)
        return self._library.make(
            "TensorBuffer",
            "ManagedTensorBufferFromRequirements",
            self._environment,
            get("GetRankedTensorType", tensor, kind=_TensorType),
            get(
                f"GetCompiledModel{side}BufferRequirements",
                *(self._compiled, _FIRST, _FIRST),
            ),
        )

    def _write(self, content):
        size = self._library.get(
            "GetTensorBufferPackedSize", self._input, kind=ctypes.c_size_t
        )
        if size.value != len(content):
            raise Failed(f"LiteRT takes {size.value} bytes, not {len(content)}")
        address = ctypes.c_void_p()
        self._library.call(
            "LockTensorBuffer", self._input, ctypes.byref(address), _WRITE
        )
        ctypes.memmove(address, content, len(content))
        self._library.call("UnlockTensorBuffer", self._input)

    def run(self):
        one = ctypes.c_size_t(1)
        self._library.call(
            "RunCompiledModel",
            *(self._compiled, _FIRST),
            *(one, ctypes.byref(self._input)),
            *(one, ctypes.byref(self._output)),
        )

    def timed_run(self):
        """Microseconds of a run, and its operations in order.

        Returns:
            (microseconds, [(name, microseconds)]).
        """
        get, call = self._library.get, self._library.call
        # This also forgets earlier events.
        call("StartProfiler", self._profiler)
        start = time.perf_counter_ns()
        self.run()
        total = (time.perf_counter_ns() - start) / 1e3
        call("StopProfiler", self._profiler)
        count = get("GetNumProfilerEvents", self._profiler, kind=ctypes.c_int)
        events = get(
            "GetProfilerEvents",
            *(self._profiler, count),
            kind=_Event * count.value,
        )
        return total, [
            (event.tag.decode(), event.elapsed_us)
            for event in events
            if event.type in _OPERATIONS
        ]


def profile(library, path, threads, runs, warmup, content):
    """The times of each operation in each run.

    Args:
        library: The path of LiteRT's library.
        path: The file.
        threads: How many threads the runtime uses.
        runs: The number of timed runs.
        warmup: The number of untimed runs before them.
        content: The bytes of the input tensor.

    Returns:
        Dict of the `names` of the operations; their microseconds `times`, a
        list for each run; and the microseconds of each whole run, `totals`.
    """
    names, times, totals = None, [], []
    with _Library(library) as opened:
        model = _Model(opened, path, threads, content)
        for _ in range(warmup):
            model.run()
        for _ in range(runs):
            total, operations = model.timed_run()
            if not operations:
                raise Failed("LiteRT's profiler tells of no operations")
            kernels, elapsed = zip(*operations, strict=True)
            names = names or kernels
            if kernels != names:
                raise Failed("LiteRT's runs differ in their operations")
            times.append(elapsed)
            totals.append(total)
    return {"names": names, "times": times, "totals": totals}


def _main(folder):
    folder = pathlib.Path(folder)
    job = json.loads((folder / "job.json").read_text())
    # Last, so that the modules beside it hide no others of their names.
    sys.path.append(str(pathlib.Path(__file__).parent))
    import amx

    # The stack must live as long as the process.
    _stack = None if job.pop("amx") else amx.refuse()
    try:
        result = profile(content=(folder / "input").read_bytes(), **job)
    except Failed as error:
        result = {"message": str(error)}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    _main(sys.argv[1])
