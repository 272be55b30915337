"""Times LiteRT files in a process of its own, without TensorFlow beside it.

A script: `python -P timer.py JOB`, where JOB is JSON with paths, runs,
warmup, threads and amx. It prints the number of rounds done, line by line, and
last the times in milliseconds as JSON, a list for each file.
"""

import json
import os
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

_STRIDE = 20


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
    sys.path.append(os.path.dirname(__file__))  # Last, so it hides nothing.
    import amx

    job = json.loads(sys.argv[1])
    stack = None if job.pop("amx") else amx.refuse()
    print(json.dumps(measure(**job).T.tolist()))
