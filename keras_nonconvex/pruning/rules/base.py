"""What a rule is, and where rules are found."""

import dataclasses

REGISTRY = {}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """The channel ids of a symbolic tensor, axis by axis.

    Attributes:
        shape: Its shape, with the batch axis; None where unknown.
        axes: Per axis the ids of its indices, or None for an axis of
            positions, of which none is ever removed.
    """

    shape: tuple
    axes: tuple

    @property
    def ids(self):
        """The ids of the last axis, where channels usually are."""
        return self.axes[-1]

    @property
    def labelled(self):
        """The axes that have ids."""
        return [i for i, ids in enumerate(self.axes) if ids is not None]

    def with_ids(self, ids, axis=-1):
        """The same tensor with other ids on one axis."""
        axes = list(self.axes)
        axes[axis] = ids
        return Tensor(self.shape, tuple(axes))


def positions(shape):
    """A `Tensor` without any channels."""
    return Tensor(tuple(shape), (None,) * len(shape))


class CannotFollow(Exception):
    """Raised by a rule: channels cannot be followed here, for this reason."""


def rule(*keys):
    """Class decorator: the rule for these layer types, looked up exactly.

    A string means a class of Keras that is not public, by its name: the
    operations that `keras.ops` leave in a functional model.

    >>> @knc.pruning.rule(MyScale)
    ... class ScaleRule(knc.pruning.Rule):
    ...     def channels(self, layer, inputs, walk):
    ...         (x,) = inputs
    ...         walk.use(layer, "scale", axis=0, ids=x.ids, role="scale")
    ...         return x
    """

    def register(cls):
        for key in keys:
            REGISTRY[key] = cls()
        return cls

    return register


def find(operation):
    """The rule for a layer or operation, or None."""
    kind = type(operation)
    if kind in REGISTRY:
        return REGISTRY[kind]
    if kind.__module__.split(".")[0] == "keras":
        return REGISTRY.get(kind.__name__)
    return None


class Rule:
    """How channels pass one layer type, and how the layer is made smaller.

    `channels` names the layer's weights whose axes are channels
    (`walk.use`). Scores, masks and cuts all read those declarations, so a
    rule never slices a weight itself.
    """

    # Whether each value of the output comes from one input alone.
    joins = False

    def channels(self, layer, inputs, walk):
        """The channels of the output.

        Args:
            layer: The layer.
            inputs: One `Tensor` per input.
            walk: The `Trace`: `make` for new channels, `use` for weights,
                `tie`, `freeze`, `needs_zero`.

        Returns:
            A `Tensor`, or the ids of the output's last axis alone; a list of
            them for several outputs.

        Raises:
            CannotFollow: All channels that come in have to stay.
        """
        raise NotImplementedError

    def resized(self, layer, cut):
        """Changes of the layer's config once channels are gone.

        Args:
            layer: The layer, at its full size.
            cut: A `Cut`: what stays of its inputs, outputs and weights.
        """
        return {}

    def rescaled(self, layer, cut, weights):
        """Changed values, where fewer channels change what a weight means.

        Args:
            layer: The layer, at its full size.
            cut: A `Cut`.
            weights: {weight name: its remaining values}.
        """
        return {}

    def bias_axes(self, layer):
        """The output axes that a bias runs along; () if it can have none.

        Asked of layers with an "input" weight axis: a constant that a removed
        channel still sends goes into this bias.
        """
        return ()

    def folds_exactly(self, layer):
        """Whether a constant input channel is exactly a change of the bias."""
        return False


@dataclasses.dataclass(frozen=True)
class Kept:
    """What stays of a tensor: per axis one bool per index, or None for all."""

    full: tuple
    masks: tuple

    @property
    def shape(self):
        """The smaller shape."""
        return tuple(
            n if mask is None else int(mask.sum())
            for n, mask in zip(self.full, self.masks, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Cut:
    """What stays around one call of a layer.

    Attributes:
        inputs, outputs: One `Kept` per tensor.
        weights: {weight name: `Kept`}.
    """

    inputs: list
    outputs: list
    weights: dict
