"""Times LiteRT files in a process of its own, without TensorFlow beside it.

A script: `python -P timer.py FOLDER` reads FOLDER/job.json (paths, runs,
warmup, threads, amx), prints the number of rounds done, line by line, and
writes FOLDER/result.json: milliseconds of the runs, a list for each file.
"""

import json
import pathlib
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
            # Times do not depend on values; numbers of tokens must be small.
            kind = np.dtype(source["dtype"])
            tokens = kind.kind in "iu" and kind.itemsize > 2
            sample = (2 if tokens else 100) * rng.random(source["shape"])
            model.set_tensor(source["index"], sample.astype(kind))
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


def _main(folder):
    # Last, so that the modules beside it hide no others of their names.
    sys.path.append(str(pathlib.Path(__file__).parent))
    import amx

    folder = pathlib.Path(folder)
    job = json.loads((folder / "job.json").read_text())
    # The stack must live as long as the process.
    _stack = None if job.pop("amx") else amx.refuse()
    times = measure(**job).T.tolist()
    (folder / "result.json").write_text(json.dumps(times))


if __name__ == "__main__":
    _main(sys.argv[1])
