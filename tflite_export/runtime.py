"""LiteRT interpreters, as the other modules need them."""

import contextlib
import os
import pathlib

import numpy as np

# Inputs between two calls of `progress`.
_STRIDE = 100


def interpreter(path, threads=1, **options):
    """An allocated interpreter for a file with one input and one output.

    Args:
        path: The LiteRT file.
        threads: How many threads the runtime uses.
        **options: Further arguments of
            `ai_edge_litert.interpreter.Interpreter`.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such file. Received: path={str(path)!r}")
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        try:
            made = Interpreter(str(path), num_threads=threads, **options)
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


def predict(path, inputs, progress=None):
    """Outputs of a file on a batch of inputs, as an array of real numbers.

    Args:
        path: The LiteRT file.
        inputs: Array (n, ...) of what the Keras model takes; a quantized file
            gets integers made of them.
        progress: Called with the number of inputs done, now and then.
    """
    model = interpreter(path)
    (source,) = model.get_input_details()
    (target,) = model.get_output_details()
    inputs = np.asarray(inputs)
    batch, *shape = source["shape"].tolist()
    if list(inputs.shape[1:]) != shape:
        raise ValueError(
            f"The file takes inputs of shape {tuple(shape)}. "
            f"Received: {inputs.shape[1:]}"
        )
    inputs = quantized(inputs, source)
    outputs = []
    for start in range(0, len(inputs), batch):
        chunk = inputs[start : start + batch]
        missing = batch - len(chunk)
        if missing:
            chunk = np.concatenate([chunk, chunk[:1].repeat(missing, axis=0)])
        model.set_tensor(source["index"], chunk)
        model.invoke()
        output = model.get_tensor(target["index"])
        outputs.append(output[: batch - missing])
        if progress and start % _STRIDE < batch:
            progress(start + batch - missing)
    return dequantized(np.concatenate(outputs), target)


def quantized(values, details):
    """Real numbers as a tensor of a file stores them."""
    values, dtype = np.asarray(values), np.dtype(details["dtype"])
    scale, zero = details["quantization"]
    if scale and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.round(values / scale + zero)
        values = values.clip(limits.min, limits.max)
    return values.astype(dtype)


def dequantized(values, details):
    """What a tensor of a file stores, as real numbers."""
    scales = details["quantization_parameters"]["scales"]
    if not len(scales) or values.dtype.kind not in "iu":
        return values
    zeros = details["quantization_parameters"]["zero_points"]
    real = values.astype("float32")
    if len(scales) == 1:
        return (real - float(zeros[0])) * float(scales[0])
    axis = details["quantization_parameters"]["quantized_dimension"]
    shape = [1] * values.ndim
    shape[axis] = -1
    return (real - zeros.reshape(shape)) * scales.reshape(shape)


def delegation(model):
    """The operations that a delegate runs, and how many parts they form.

    Args:
        model: An interpreter.

    Returns:
        A set of operation numbers, and the number of delegate calls.
    """
    # The runtime has no public function for this.
    operations = model._get_ops_details()
    delegates = [o for o in operations if o["op_name"] == "DELEGATE"]
    makers = {
        int(tensor): number
        for number, operation in enumerate(operations)
        for tensor in operation["outputs"]
        if operation["op_name"] != "DELEGATE"
    }
    delegated = set()
    for delegate in delegates:
        # All that lies between its inputs and its outputs.
        known = set(map(int, delegate["inputs"]))
        open_ = set(map(int, delegate["outputs"]))
        while open_:
            tensor = open_.pop()
            if tensor in known or tensor not in makers:
                continue
            known.add(tensor)
            delegated.add(makers[tensor])
            open_.update(map(int, operations[makers[tensor]]["inputs"]))
    return delegated, len(delegates)


@contextlib.contextmanager
def quiet():
    """A scope that drops what C++ code prints on stderr."""
    # "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." and the like.
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
