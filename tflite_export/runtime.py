"""LiteRT interpreters, as the other modules need them."""

import contextlib
import os
import pathlib

import numpy as np


def interpreter(path, threads=1):
    """An allocated interpreter for a file with one input and one output."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such file. Received: path={str(path)!r}")
    from ai_edge_litert.interpreter import Interpreter

    with _quiet():
        try:
            made = Interpreter(str(path), num_threads=threads)
            made.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"LiteRT cannot load this file ({error}). "
                f"Received: path={str(path)!r}"
            ) from error
    counts = len(made.get_input_details()), len(made.get_output_details())
    if counts != (1, 1):
        raise ValueError(
            "Only files with one input and one output are run. Received: "
            f"path={str(path)!r} with {counts[0]} and {counts[1]}"
        )
    return made


def predict(path, images, progress=None):
    """Outputs of a file on a batch of inputs, one by one, as an array.

    Args:
        path: The LiteRT file.
        images: Array (n, ...).
        progress: Called with the number of images done, every 100.
    """
    model = interpreter(path)
    (source,) = model.get_input_details()
    (target,) = model.get_output_details()
    if tuple(source["shape"][1:]) != tuple(images.shape[1:]):
        raise ValueError(
            f"The file takes inputs of shape {tuple(source['shape'][1:])}. "
            f"Received: {tuple(images.shape[1:])}"
        )
    images = np.asarray(images, dtype=source["dtype"])
    outputs = []
    for done, image in enumerate(images, 1):
        model.set_tensor(source["index"], image[None])
        model.invoke()
        outputs.append(model.get_tensor(target["index"])[0])
        if progress and done % 100 == 0:
            progress(done)
    return np.stack(outputs)


@contextlib.contextmanager
def _quiet():
    # The runtime prints "INFO: Created XNNPACK delegate" from C++.
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
