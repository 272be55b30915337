"""Calls that read a part of a tensor's channels, on what is left of them."""

import numpy as np
from keras import ops


class Choices:
    """Takes a part of the channels of the new model's tensors.

    Args:
        trace: A `Trace`.
        keep: One bool per channel id.
        name: A function (tensor, name) that names a tensor's operation.
    """

    def __init__(self, trace, keep, name):
        self.trace = trace
        self.keep = keep
        self.name = name

    def narrowed(self, node, key, tensors):
        """The tensors that enter a call that reads fewer channels.

        Args:
            node: Keras' record of the old call.
            key: The call, as in `Trace.gathers`.
            tensors: {id of an old tensor: the new one}.
        """
        gather = self.trace.gathers.get(key)
        if gather is None:
            return tensors
        given = self.trace.stays(self.keep, gather.given)
        chosen = self.trace.stays(self.keep, gather.chosen)[given]
        tensor = node.arguments.keras_tensors[0]
        if chosen.all():
            return tensors
        taken = ops.take(
            tensors[id(tensor)],
            np.flatnonzero(chosen).tolist(),
            axis=gather.axis,
        )
        self.name(taken, f"{node.operation.name}_select")
        return {**tensors, id(tensor): taken}

    def source(self, key):
        """The tensor that a choice of channels reads, in the old model.

        None if the call is none, or if all are left: it is made as it was.

        Args:
            key: The call, as in `Trace.picks`.
        """
        pick = self.trace.picks.get(key)
        if pick is None or self.trace.stays(self.keep, pick.given).all():
            return None
        (tensor,) = pick.first.node.arguments.keras_tensors
        return tensor

    def picked(self, node, key, tensors):
        """What a choice of channels gives of those that are left.

        None if the call is none, as in `source`.

        Args:
            node: Keras' record of the old call.
            key: The call, as in `Trace.picks`.
            tensors: {id of an old tensor: the new one}.
        """
        tensor = self.source(key)
        if tensor is None:
            return None
        pick = self.trace.picks[key]
        given = self.trace.stays(self.keep, pick.given)
        places = np.cumsum(given) - 1
        indices = places[pick.indices[given[pick.indices]]]
        part = list(pick.key)
        adjoining = len(indices) > 0 and np.all(np.diff(indices) == 1)
        if adjoining and len(indices) < given.sum():
            first, last = int(indices[0]), int(indices[-1])
            part[pick.place] = slice(first, last + 1)
        picked = tensors[id(tensor)]
        if any(entry != slice(None) for entry in part):
            picked = picked[tuple(part)]
            picked._keras_history.operation.name = node.operation.name
        if not adjoining:
            picked = ops.take(picked, indices.tolist(), axis=pick.axis)
            self.name(picked, f"{node.operation.name}_select")
        return picked
