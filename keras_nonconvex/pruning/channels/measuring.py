"""Measures constants: what noise gives, at several sizes.

A constant is the same for every input; noise shows what is none.
"""

import keras
import numpy as np
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex.pruning.channels.execution import run

# Sizes of free axes, by how many there are. The first one at which a model
# runs and leaves no tensor empty is the base: long strides need much.
_BASES = {
    0: (None,),
    1: (64, 480, 1024, 15360, 61440, 16),
    2: (64, 96, 224, 240, 512),
    3: (16, 32, 56, 64),
}

# Further sizes in multiples of the base, plus something, of which two have to
# run as well. Odd ones and ones that are not square come first; some models
# take only even divisions.
_FURTHER = (
    ((2, 1), (2, 19), (2, 5)),
    ((3, 9), (2, 11), (2, 7)),
    ((2, 0), (3, 0), (1, 0)),
    ((3, 0), (1, 0), (2, 0)),
)


def measured(trace, values, wanted):
    """What an input of noise gives: one dict for each size that was tried.

    A model of fixed size has one, others have three, the base last. What
    is not equal in all of them depends on the size.

    Args:
        trace: A `Trace`.
        values: As in `execution.run`: weights that count as others.
        wanted: Symbolic tensors of the trace.

    Returns:
        A list of {id of a symbolic tensor: array}.

    Raises:
        ValueError: The model does not run at enough of the sizes.
    """
    found, problem = [], None
    for inputs in _inputs(trace, found):
        try:
            arrays = run(trace, inputs, values, wanted, _filled)
        except Exception as error:
            problem = error
            continue
        found.append({k: ops.convert_to_numpy(y) for k, y in arrays.items()})
    if len(found) < (2 if _free(trace) else 1):
        (first, *_) = str(problem).splitlines() or [""]
        raise ValueError(first)
    return found[::-1]


def rows(array, axis):
    """The values at each index of an axis, one row each."""
    array = np.moveaxis(array, axis, 0)
    return array.reshape(len(array), array[:1].size)


def _free(trace):
    """How many axes of positions are free."""
    shapes = [t.shape[1:] for t in trace.model.inputs]
    return min(3, max(shape.count(None) for shape in shapes))


def _inputs(trace, found):
    """Inputs to try, until enough are `found`."""
    free = _free(trace)
    for batch in graph.batch_sizes(trace.calls, 1):
        for base in _BASES[free]:
            yield _noise(trace, batch, [base] * free)
            if found:
                break
        if found:
            break
    for further in _FURTHER if free and found else ():
        if len(found) < 3:
            sizes = [n * base + more for n, more in further[:free]]
            yield _noise(trace, batch, sizes)


def _noise(trace, batch, sizes):
    """Numbers in [0, 1); zeros where tokens, or words, are expected."""
    rng = np.random.default_rng(0)
    arrays = []
    for t in trace.model.inputs:
        free = iter(sizes)
        shape = [batch, *(n or next(free, 16) for n in t.shape[1:])]
        dtype = keras.backend.standardize_dtype(t.dtype)
        if "float" in dtype:
            arrays.append(rng.random(shape, "float32"))
        else:
            kind = "str" if dtype == "string" else dtype
            arrays.append(np.zeros(shape, kind))
    return arrays


def _filled(call, output, place):
    """Refuses an output without values."""
    if 0 in output.shape:
        raise ValueError(f"'{call.operation.name}' has an empty output")
    return output
