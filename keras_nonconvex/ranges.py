"""What values a model takes: pixels, [0, 1] or [-1, 1]. Its start says it."""

import collections

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex import graph

# The least and the largest value of an image.
Range = collections.namedtuple("Range", "low high")

PIXELS = Range(0.0, 255.0)
UNIT = Range(0.0, 1.0)
SIGNED = Range(-1.0, 1.0)

# The gray images that show what the start of a model does.
_GRAYS = (0.0, 128.0, 255.0)
# The size of an image where the model leaves it open.
_OPEN = 8


def of(model):
    """The range of each input of a model, as its first layers tell it.

    These are layers and operations without weights, and `Normalization`, that
    make `a * gray + b` of gray images. Networks compute with values
    around one, so `a` and `b` tell the range that they are made for.

    Args:
        model: A built model.

    Returns:
        A list with a `Range` for each input, and None where the input is no
        image (height, width, channels) or the first layers do not tell.
    """
    if not graph.is_graph(model):
        return [None] * len(getattr(model, "inputs", None) or [None])
    calls = [call for call in graph.calls(model) if not call.node.is_input]
    return [_of_input(tensor, calls) for tensor in model.inputs]


def suited(name, x, takes, holds=None):
    """Values as a model takes them, or an error if they cannot be.

    Args:
        name: A string: what error messages call the values.
        x: An array.
        takes: The `Range` that the model takes. None is any: `x` stays as it
            is.
        holds: The `Range` that the values are known to have, or None if it is
            not known; that of uint8 always is. Defaults to `None`.

    Raises:
        ValueError: The values clearly have another range, which nobody said.
    """
    if takes is None or not x.size:
        return x
    holds = held(name, x, takes, holds)
    return x if holds == takes else moved(x, holds, takes)


def held(name, x, takes, holds=None):
    """The `Range` of values that are for a model, or an error as `suited`.

    Takes what `suited` takes, with values and a range.
    """
    low, high = float(np.min(x)), float(np.max(x))
    if x.dtype == np.uint8:
        # Black and white may be 0 and 1.
        holds = PIXELS if high > 1 else UNIT
    elif holds is None or _beyond(low, high, holds):
        # They may have the range of the model already.
        holds = takes
    if _beyond(low, high, holds):
        raise ValueError(
            f"Argument `{name}` must have values from {takes.low:g} to "
            f"{takes.high:g}, as the model takes them; uint8 images are "
            f"converted. Received: values from {low:g} to {high:g}"
        )
    return holds


def moved(x, holds, takes):
    """Values of one range as float32 in another.

    Args:
        x: An array.
        holds: The `Range` of its values.
        takes: The `Range` that they get.
    """
    scale = (takes.high - takes.low) / (holds.high - holds.low)
    return (x.astype("float32") - holds.low) * np.float32(scale) + takes.low


def differ(first, second):
    """Whether two ranges cannot mean the same values."""
    return _beyond(*first, second) or _beyond(*second, Range(*first))


def _beyond(low, high, said):
    """Whether values clearly have another range than it is said."""
    width = said.high - said.low
    return (
        max(said.low - low, high - said.high) > width / 2
        or 0 < max(-low, high) < width / 25
    )


def _of_input(tensor, calls):
    if len(tensor.shape) != 4:
        return None
    shape = [size or _OPEN for size in tensor.shape[1:]]
    # tensor -> what it is for each gray image
    known = {
        id(tensor): [np.full((1, *shape), g, tensor.dtype) for g in _GRAYS]
    }
    line = None
    for call in calls:
        if not _is_plain(call) or any(id(t) not in known for t in call.inputs):
            continue
        inputs = zip(*(known[id(t)] for t in call.inputs), strict=True)
        made = [
            ops.convert_to_numpy(graph.outputs_for(call, list(each))[0])
            for each in inputs
        ]
        found = _line([one.astype("float64") for one in made])
        if found:
            known[id(call.outputs[0])] = made
            line = line if found == (1.0, 0.0) else found
    return line and _made_for(*line)


def _is_plain(call):
    """Whether a call has no weights, other than means and variances."""
    return len(call.outputs) == 1 and (
        isinstance(call.operation, layers.Normalization)
        or not getattr(call.operation, "weights", ())
    )


def _line(grays):
    """(a, b) of `a * gray + b`; None if the images are no such line."""
    dark, middle, light = grays
    slope = (light - dark) / (_GRAYS[2] - _GRAYS[0])
    bend = np.abs(middle - dark - _GRAYS[1] * slope).max()
    a = float(np.median(slope))
    if not a or bend > 1e-3 * np.abs(light - dark).max():
        return None
    return a, float(np.median(dark))


def _made_for(a, b):
    """The `Range` that `a * gray + b` is made for, or None."""
    middle, step = -b / a, abs(a)
    if middle < -1e-3:
        return SIGNED if middle > -1.001 else None
    if middle > 2:
        return PIXELS if middle <= 255 else None
    if step > 0.2:
        return UNIT
    return PIXELS if step > 1e-3 else None
