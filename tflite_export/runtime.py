"""LiteRT interpreters, as the other modules need them."""

import contextlib
import os
import pathlib

import numpy as np

# Inputs between two calls of `progress`.
_STRIDE = 100


def interpreter(path, threads=1, **options):
    """An allocated interpreter for a file.

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
    return made


def ends(model, path):
    """The only input and the only output of a file that is run alone.

    Args:
        model: An interpreter.
        path: Its file.

    Returns:
        Two dicts of details.
    """
    inputs, outputs = model.get_input_details(), model.get_output_details()
    if (len(inputs), len(outputs)) != (1, 1):
        raise ValueError(
            "Only files with one input and one output are run here. Received: "
            f"path={str(path)!r} with {len(inputs)} and {len(outputs)}"
        )
    return inputs[0], outputs[0]


def predict(path, inputs, progress=None):
    """Outputs of a file on a batch of inputs, as arrays of real numbers.

    Args:
        path: The LiteRT file.
        inputs: Array (n, ...) of what the Keras model takes, or a list of
            them, one for each input; a quantized file gets integers made of
            them.
        progress: Called with the number of inputs done, now and then.

    Returns:
        An array, or a list of them if the file has several outputs.
    """
    model = interpreter(path)
    sources, targets = model.get_input_details(), model.get_output_details()
    given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    given = [np.asarray(array) for array in given]
    wanted = [tuple(source["shape"][1:].tolist()) for source in sources]
    shapes = [array.shape[1:] for array in given]
    if shapes != wanted:
        raise ValueError(
            f"The file takes inputs of shape {_listed(wanted)}. "
            f"Received: {_listed(shapes)}"
        )
    given = list(map(quantized, given, sources))
    batch, count = int(sources[0]["shape"][0]), len(given[0])
    outputs = [[] for _ in targets]
    for start in range(0, count, batch):
        missing = max(start + batch - count, 0)
        for source, array in zip(sources, given, strict=True):
            chunk = array[start : start + batch]
            if missing:
                last = chunk[:1].repeat(missing, axis=0)
                chunk = np.concatenate([chunk, last])
            model.set_tensor(source["index"], chunk)
        model.invoke()
        for target, parts in zip(targets, outputs, strict=True):
            output = model.get_tensor(target["index"])
            parts.append(output[: batch - missing])
        if progress and start % _STRIDE < batch:
            progress(start + batch - missing)
    real = [
        dequantized(np.concatenate(parts), target)
        for parts, target in zip(outputs, targets, strict=True)
    ]
    return real if len(real) > 1 else real[0]


def _listed(shapes):
    return ", ".join(map(str, shapes))


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
