"""Layers that join several tensors."""

from keras import layers

from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import rule


@rule(layers.Add)
class AddRule(Rule):
    def channels(self, layer, inputs, space):
        first, *others = inputs
        for other in others:
            if len(other.ids) != len(first.ids):
                return space.freeze_all(
                    layer, inputs, f"'{layer.name}' broadcasts channels"
                )
            space.tie(first.ids, other.ids)
        return first.ids
