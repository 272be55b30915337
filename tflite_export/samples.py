"""Samples: real inputs that set the ranges of activations, or are compared."""

import itertools

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import datasets

# So many are enough; a data set is not read further.
MOST = 500


def samples(data, shape, metadata=None):
    """Checked samples as one float32 array (n, ...).

    Args:
        data: An array (n, ...); a `tf.data.Dataset` or another iterable of
            samples or batches, alone or with labels; or the name of a data
            set (`knc.datasets.load`), of which training images are taken.
            At most `MOST` of the last two.
        shape: Of one sample.
        metadata: A `Metadata` whose normalisation says which values there
            can be.

    Raises:
        ValueError: Nothing there, another shape, NaN, one value only, or
            outside the range of the metadata.
    """
    if isinstance(data, str):
        data = datasets.load(data).x_train[:MOST]
    elif data is not None and not hasattr(data, "__array__"):
        data = _from_iterable(data, shape)
    array = checks.samples(
        "representative_data",
        data,
        shape,
        "the name of a data set, or an array or a tf.data.Dataset of real "
        "samples",
    ).astype("float32")
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise ValueError(
            "Argument `representative_data` must be real samples: their "
            "values set the ranges of the quantized network. "
            f"Received: {low:g} everywhere"
        )
    if metadata is not None:
        least, most = metadata.input_range
        slack = 1e-3 * (most - least)
        if low < least - slack or high > most + slack:
            raise ValueError(
                "Argument `representative_data` must lie in the range that "
                f"the metadata's mean and std give, {least:g} to {most:g}. "
                f"Received: {low:g} to {high:g}"
            )
    return array


def check_inputs(model, x):
    """Refuses inputs that say nothing of a model."""
    (tensor,) = model.inputs
    checks.samples("x", x, tensor.shape[1:])


def _from_iterable(data, shape):
    """The first samples of a dataset, batched or not, labels left out."""
    try:
        iterator = iter(data)
    except TypeError:
        return None
    found, size = [], 0
    for element in itertools.islice(iterator, MOST):
        first = element[0] if isinstance(element, tuple) else element
        batch = np.asarray(first)
        if batch.ndim == len(shape):
            batch = batch[None]
        if batch.shape[1:] != tuple(shape):
            return batch
        found.append(batch)
        size += len(batch)
        if size >= MOST:
            break
    return np.concatenate(found)[:MOST] if found else None
