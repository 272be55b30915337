"""Reshapes; and channel shuffles, of which a reshape is the first step."""

from keras import layers

from keras_nonconvex.pruning.rules.base import find
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule
from keras_nonconvex.pruning.rules.moving import Moving
from keras_nonconvex.pruning.rules.moving import Reshaping
from keras_nonconvex.pruning.rules.selecting import pick_of

# A channel shuffle takes three calls, or five where positions are one axis.
_MOST_CALLS = 5


@rule(layers.Reshape, "Reshape")
class ReshapeRule(Reshaping):
    """Calls that only move values, and together only channels, are one.

    A channel shuffle (ShuffleNet, Zhang et al. 2018) reshapes the channels to
    a matrix, transposes it and reshapes back. Step by step its rows would be
    tied, since they have to be of one length. As a whole it puts the channels
    in another order, and the small model takes what is left in that order.
    """

    def channels(self, layer, inputs, walk):
        pick = walk.picks.get(walk.key)
        if pick is not None:
            out = positions(walk.shapes[0])
            return out.with_ids(pick.given[pick.indices], pick.axis)
        if self.shuffles(inputs[0], walk):
            return positions(walk.shapes[0])
        return super().channels(layer, inputs, walk)

    def shuffles(self, x, walk):
        """Whether a shuffle begins here, which is then noted for its end."""
        if len(x.labelled) != 1 or len(x.shape) == len(walk.shapes[0]):
            return False
        (axis,) = x.labelled
        calls = [walk.call]
        while len(calls) < _MOST_CALLS:
            further = walk.only_reader(calls[-1].outputs[0])
            if further is None or not _moves_one(further, walk.call.path):
                return False
            calls.append(further)
            if tuple(further.outputs[0].shape) == x.shape:
                break
        key = (slice(None),) * len(x.shape)
        pick = pick_of(calls, x, key, axis, axis)
        if pick is None or type(find(calls[-1].operation)) is not ReshapeRule:
            return False
        walk.pick(pick, calls[-1])
        return True


def _moves_one(call, path):
    """Whether a call moves the values of one tensor, in the same model."""
    return (
        isinstance(find(call.operation), Moving)
        and len(call.inputs) == len(call.outputs) == 1
        and call.path == path
    )
