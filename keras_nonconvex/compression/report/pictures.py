"""Arrays as pictures in the page: filters, and images of the data."""

import base64
import io

import keras
import matplotlib
import matplotlib.image
import numpy as np


def first_filters(model, plan):
    """The filters of the first convolution, as images.

    Args:
        model: The model that the plan is about.
        plan: Its `PruningPlan`.

    Returns:
        A list of dicts with `png`, `kept`, `zero` and `layer`, one for each
        filter; an empty list for a model without a convolution.
    """
    kept = {layer.name: layer.keep for layer in plan.layers}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and kept.get(layer.name):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            break
    else:
        return []
    return [
        {
            "png": png(_pixels(kernel[..., index])),
            "kept": stays,
            "zero": not kernel[..., index].any(),
            "layer": layer.name,
        }
        for index, stays in enumerate(kept[layer.name])
    ]


def _pixels(weights):
    """A filter as an RGB image: its own colours, or blue - white - red."""
    scaled = 0.5 + 0.5 * weights / (np.abs(weights).max() or 1.0)
    if weights.shape[2] == 3:
        return scaled
    return matplotlib.colormaps["RdBu_r"](scaled.mean(axis=2))[..., :3]


def image(array):
    """A sample (..., channels) of any range, as a PNG."""
    low, high = array.min(), array.max()
    return png(colored((array - low) / ((high - low) or 1.0)))


def colored(array):
    """An array (..., channels) as one with three channels.

    What is not (height, width, channels) is seen as rows of numbers.
    """
    if array.ndim != 3:
        array = array.reshape(len(array), -1, 1)
    if array.shape[-1] != 3:
        array = array.mean(axis=-1, keepdims=True).repeat(3, -1)
    return array


def png(pixels):
    """An RGB image with values in [0, 1] as PNG in base64."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
