"""What a rule is, and where rules are found."""

import collections

Tensor = collections.namedtuple("Tensor", "ids shape")

REGISTRY = {}


def rule(*layer_types):
    """Class decorator: the rule for these layer types, looked up exactly.

    >>> @knc.pruning.rule(MyScale)
    ... class ScaleRule(knc.pruning.Rule):
    ...     def channels(self, layer, inputs, space):
    ...         (x,) = inputs
    ...         space.use(layer, "scale", axis=0, ids=x.ids, role="scale")
    ...         return x.ids
    """

    def register(cls):
        for layer_type in layer_types:
            REGISTRY[layer_type] = cls()
        return cls

    return register


class Rule:
    """How channels pass one layer type, and how the layer is made smaller.

    `channels` names the layer's weights whose axes are channels
    (`space.use`). Scores, masks and cuts all read those declarations, so a
    rule never slices a weight itself.
    """

    def channels(self, layer, inputs, space):
        """The ids of the output's channels.

        Args:
            layer: The layer.
            inputs: One `Tensor(ids, shape)` per input, channels last.
            space: The `Trace`, for `new`, `tie`, `freeze` and `use`.
        """
        raise NotImplementedError

    def resized(self, layer, keep_out):
        """Changes of the layer's config when `keep_out` channels stay.

        Args:
            layer: The layer.
            keep_out: One bool per output channel.
        """
        return {}

    def folds_constants(self, layer):
        """Whether a constant input channel equals a change of the bias.

        Asked of layers with an "input" weight axis only.
        """
        return False
