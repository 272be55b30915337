"""Times LiteRT files in a process of its own, without TensorFlow beside it.

A script: `python -P timer.py JOB`, where JOB is JSON with paths, runs,
warmup, threads and amx. It prints the number of rounds done, line by line, and
last the times in milliseconds as JSON, a list for each file.
"""

import ctypes
import json
import platform
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

_STRIDE = 20


def refuse_amx():
    """Keeps the runtime off Intel's matrix unit, on Linux.

    No phone has one, and XNNPACK's int8 kernels for it compute 64 channels
    where there are fewer, so that narrow layers all take the same time. The
    kernel grants it only to processes whose signal stacks could hold its
    registers; this one's cannot.

    Returns:
        The memory of the stack, which must live as long as the process.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None

    class Stack(ctypes.Structure):
        _fields_ = [
            ("start", ctypes.c_void_p),
            ("flags", ctypes.c_int),
            ("size", ctypes.c_size_t),
        ]

    memory = ctypes.create_string_buffer(8192)
    stack = Stack(ctypes.addressof(memory), 0, len(memory))
    ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None)
    return memory


def measure(paths, runs, warmup, threads):
    """Milliseconds (runs, files) of interleaved runs."""
    rng = np.random.default_rng(0)
    models = []
    for path in paths:
        model = Interpreter(path, num_threads=threads)
        model.allocate_tensors()
        for source in model.get_input_details():
            # Times do not depend on values.
            sample = 100 * rng.random(source["shape"])
            model.set_tensor(source["index"], sample.astype(source["dtype"]))
        models.append(model)
    times = np.empty((runs, len(models)))
    for done in range(-warmup, runs):
        for column, model in enumerate(models):
            start = time.perf_counter_ns()
            model.invoke()
            elapsed = time.perf_counter_ns() - start
            if done >= 0:
                times[done, column] = elapsed / 1e6
        if done > 0 and done % _STRIDE == 0:
            print(done, flush=True)
    return times


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    stack = None if job.pop("amx") else refuse_amx()
    print(json.dumps(measure(**job).T.tolist()))
