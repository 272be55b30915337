"""The weights of a CIFAR-10 ResNet by layer name, as Keras lays them out.

This is what the frameworks hand to each other, and what both are counted by.
NumPy alone, so that a process without TensorFlow can import it.
"""

import re

import numpy as np


def save(path, weights):
    """Writes {layer name: list of arrays} as one .npz file."""
    np.savez(
        path,
        **{
            f"{name}/{i}": array
            for name, arrays in weights.items()
            for i, array in enumerate(arrays)
        },
    )


def load(path):
    """Reads what `save` wrote, in the same order."""
    weights = {}
    with np.load(path) as file:
        for key in file.files:
            weights.setdefault(key.rpartition("/")[0], []).append(file[key])
    return weights


def blocks(weights):
    """The prefixes of the residual blocks, "layer1_0_", in order."""
    found = (re.fullmatch(r"(layer\d+_\d+_)conv1", name) for name in weights)
    return [match[1] for match in found if match]


def with_projections(weights):
    """The same network with a 1x1 convolution where a shortcut only pads.

    Its kernel picks the channels that the padding puts in the middle, so the
    outputs are the same. Torch-Pruning needs it, see the script.
    """
    given = dict(weights)
    width = weights["conv1"][0].shape[-1]
    for block in blocks(weights):
        new = weights[f"{block}conv2"][0].shape[-1]
        if new != width:
            kernel = np.zeros((1, 1, width, new), "float32")
            channels = np.arange(width)
            kernel[0, 0, channels, channels + (new - width) // 2] = 1.0
            given[f"{block}short"] = [kernel]
        width = new
    return given


def counted(weights, positions):
    """The parameters and multiply-adds of a network.

    Args:
        weights: {layer name: list of arrays}. Statistics of batch
            normalizations count as parameters, as in `knc.summary`.
        positions: {name of a layer with a kernel: how many positions its
            output has}.
    """
    return {
        "params": sum(a.size for arrays in weights.values() for a in arrays),
        "macs": sum(weights[name][0].size * n for name, n in positions.items()),
    }
