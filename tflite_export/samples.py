"""Real inputs that set the ranges of activations."""

from keras_nonconvex import samples
from tflite_export import inference

# As many samples as needed, where a dataset has more.
MOST = 500


def representative(model, data, metadata=None):
    """Checked inputs: all of arrays, else `MOST` from all over the data.

    Args:
        model: The Keras model.
        data: Inputs, perhaps with targets, in any form that
            `keras_nonconvex.samples.read` takes.
        metadata: A `Metadata` whose normalisation says which values images
            can have.

    Returns:
        A list with an array `(n, ...)` for each input, in its own type.

    Raises:
        ValueError: There are no samples, or they have another shape, a NaN,
            one value only, or values outside the range of the metadata.
    """
    most = None if samples.are_arrays(model, data) else MOST
    inputs, _ = samples.read(model, data, most=most, name="representative_data")
    made = []
    ends = zip(model.inputs, samples.leaves(model, inputs), strict=True)
    for tensor, array in ends:
        kind = inference.dtype(tensor)
        made.append(array.astype(kind))
        # Integers are no ranges that are to be found.
        if kind == "float32":
            image = len(model.inputs) == 1 or len(tensor.shape) == 4
            said = metadata if image else None
            _check(float(array.min()), float(array.max()), said)
    return made


def _check(low, high, metadata):
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
