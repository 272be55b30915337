"""Criteria that look at what channels send to the layers that read them."""

import dataclasses

import numpy as np
from keras import ops

from keras_nonconvex import samples
from keras_nonconvex.pruning.channels import execution
from keras_nonconvex.pruning.criteria import drawing
from keras_nonconvex.pruning.criteria.base import Scored
from keras_nonconvex.pruning.criteria.base import criterion
from keras_nonconvex.pruning.criteria.base import relative

__all__ = ["APoZ", "MeanActivation"]


@criterion("mean_activation")
@dataclasses.dataclass(frozen=True)
class MeanActivation:
    """The mean of `|a|` over samples and positions.

    The activations a are what the layers that read a channel get. Scores are
    in units of their layer's mean.

    Args:
        data: `(x, y)`, or `x` alone, in one of the forms of `Taylor`. Targets
            are not looked at.
        samples: How many random samples to look at, an int >= 1. Defaults to
            `1024`.
        batch_size: How many samples are run at once, an int >= 1. Defaults to
            `128`.
        seed: The seed of the choice of samples, an int. Defaults to `0`.

    Example:
    >>> small = knc.prune(model, "mean_activation", {"macs": 0.5}, data=x)

    Reference:
    - Molchanov et al., "Pruning Convolutional Neural Networks for Resource
      Efficient Inference", 2017.
    """

    data: object
    samples: int = 1024
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self):
        drawing.check(self, labels=False)

    def __call__(self, trace):
        return [
            (scored, relative(scores))
            for scored, scores in _means(self, trace, np.abs)
        ]


@criterion("apoz")
@dataclasses.dataclass(frozen=True)
class APoZ:
    """The share of activations that are not zero: 1 - APoZ.

    APoZ is the average percentage of zeros among the activations of a channel
    over samples and positions, as the layers that read it get them. It says
    something about rectified activations alone.

    Args:
        data: `(x, y)`, or `x` alone, in one of the forms of `Taylor`. Targets
            are not looked at.
        samples: How many random samples to look at, an int >= 1. Defaults to
            `1024`.
        batch_size: How many samples are run at once, an int >= 1. Defaults to
            `128`.
        seed: The seed of the choice of samples, an int. Defaults to `0`.

    Example:
    >>> small = knc.prune(model, "apoz", {"macs": 0.5}, data=x)

    Reference:
    - Hu et al., "Network Trimming: A Data-Driven Neuron Pruning Approach
      towards Efficient Deep Architectures", 2016.
    """

    data: object
    samples: int = 1024
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self):
        drawing.check(self, labels=False)

    def __call__(self, trace):
        return _means(self, trace, lambda a: a != 0)


def _means(settings, trace, of):
    """Means over samples and positions of what is read, channel by channel.

    Args:
        settings: A criterion with `data`, `samples`, `batch_size` and `seed`.
        trace: A `Trace`.
        of: A function of activations that is averaged.

    Returns:
        A list of (`Scored`, means), one per tensor that a layer reads and
        axis with channels.
    """
    x = drawing.inputs(trace, settings.data, settings.samples, settings.seed)
    arrays = samples.leaves(trace.model, x)
    readers = {id(use.layer) for use in trace.of_role("input")}
    read = {
        id(tensor)
        for call in trace.calls
        if id(call.operation) in readers
        for tensor in call.inputs
    }
    sums, counts = {}, {}

    def after(call, output, place):
        tensor = call.outputs[place]
        if id(tensor) in read:
            values = of(ops.convert_to_numpy(output).astype("float32"))
            for axis in trace.tensors[id(tensor)].labelled:
                key = (id(tensor), axis)
                others = tuple(i for i in range(values.ndim) if i != axis)
                total = values.sum(axis=others, dtype="float64")
                sums[key] = sums.get(key, 0.0) + total
                counts[key] = counts.get(key, 0) + values.size // len(total)
        return output

    for start in range(0, len(arrays[0]), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        execution.run(trace, [a[part] for a in arrays], {}, [], after)
    return [
        (Scored(trace.tensors[key].axes[axis]), total / counts[key, axis])
        for (key, axis), total in sums.items()
    ]
