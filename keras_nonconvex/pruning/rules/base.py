"""What a rule is, and where rules are found."""

import dataclasses

import keras

from keras_nonconvex import graph
from keras_nonconvex.unfolding import recording

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
        """The same tensor with other ids on one axis.

        Args:
            ids: One id per index of the axis, or None for positions.
            axis: The axis, an int. Defaults to the last one.
        """
        axes = list(self.axes)
        axes[axis] = ids
        return Tensor(self.shape, tuple(axes))


def positions(shape):
    """A `Tensor` without any channels.

    Args:
        shape: Its shape, with the batch axis; None where unknown.
    """
    return Tensor(tuple(shape), (None,) * len(shape))


class CannotFollow(Exception):
    """Raised by a rule that cannot follow the channels of a layer.

    All channels that enter the layer then have to stay, and the plan prints
    the message as the reason.

    >>> raise knc.pruning.CannotFollow(f"'{layer.name}' sorts its channels")
    """


def rule(*keys):
    """Class decorator: registers a `Rule` for layer types.

    A rule counts for its layer types alone, not for their subclasses, since a
    subclass may compute something else. A later rule for the same type
    replaces an earlier one.

    Args:
        *keys: Layer classes. A string means a class of Keras that is not
            public, by its name: the operations that `keras.ops` leave in a
            functional model, such as "Relu".

    Example:
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
            recording.KNOWN.add(key)
        return cls

    return register


def find(operation):
    """The rule for a layer or operation, or None."""
    kind = type(operation)
    if kind in REGISTRY:
        return REGISTRY[kind]
    if graph.of_keras(kind) and kind.__name__ in REGISTRY:
        return REGISTRY[kind.__name__]
    if isinstance(operation, keras.layers.Layer):
        return None
    return REGISTRY[keras.Operation]


def inmost(layer):
    """The layer that has the weights: what a wrapper has inside, or itself."""
    wraps = isinstance(layer, keras.layers.Wrapper)
    return inmost(layer.layer) if wraps else layer


class Rule:
    """How channels pass a layer type, and how such a layer is made smaller.

    Subclass it, write `channels`, and register the class with
    `@knc.pruning.rule(MyLayer)`. `channels` declares which axes of which
    weights are channels. Scores, masks and cuts all read those declarations,
    so a rule never slices a weight itself. Layers that have a size in their
    config also need `resized`.

    What a rule may call on its `walk` is documented in `knc.pruning.Walk`.
    docs/add-a-layer-rule.md goes through an example.

    Attributes:
        concatenates: Whether the layer puts its inputs side by side: each
            value of the output is then a value of one input, and a channel
            that is constant in that input is constant in the output. If
            `False`, the default, each value of the output is computed from
            all inputs, and is constant only where all of them are. It only
            matters for layers with several inputs.
        multiplies: Whether each value of the output is a product of one value
            of each input, so that zero in one of them is zero. Unless a rule
            says so, it is `False`.
        keeps_zeros: Whether a channel of zeros comes out as zeros although
            the layer mixes channels. Unless a rule says so, it is `False`.
    """

    concatenates = False
    multiplies = False
    keeps_zeros = False

    def channels(self, layer, inputs, walk):
        """Declares a layer's channels and says which ones leave it.

        Called once per call of the layer.

        Args:
            layer: The layer.
            inputs: One `Tensor` per input, masks left out.
            walk: The `Walk`, through which the rule declares channels.

        Returns:
            A `Tensor`, or the ids of the output's last axis alone; a list of
            them for several outputs.

        Raises:
            CannotFollow: If all channels that enter have to stay.
        """
        raise NotImplementedError

    def resized(self, layer, cut):
        """What changes in a layer's config once channels are gone.

        Args:
            layer: The layer, at its full size.
            cut: A `Cut`: what stays of its inputs, outputs and weights.

        Returns:
            A dict of config entries, such as
            `{"units": cut.outputs[0].shape[-1]}`.
        """
        return {}

    def replaced(self, layer, cut, name):
        """What takes the place of a layer that does not exist smaller.

        Args:
            layer: The layer, at its full size.
            cut: A `Cut`: what stays of its inputs, outputs and weights.
            name: A function (tensor, name) that names the operation that a
                tensor comes from; names in a model are unique.

        Returns:
            An object that is called as the layer is, with `weights` and
            `set_weights` for what stays of the layer's weights; None, unless
            a rule overrides this, if the layer is made anew.
        """
        return None

    def rescaled(self, layer, cut, weights):
        """New values where fewer channels change what a weight means.

        Args:
            layer: The layer, at its full size.
            cut: A `Cut`: what stays of its inputs, outputs and weights.
            weights: {weight name: the array that stays of it}.

        Returns:
            A dict {weight name: array} of those that change.
        """
        return {}

    def bias_axes(self, layer):
        """The output axes that a layer's bias runs along.

        Only asked of layers with a weight axis of role "input". A constant
        that a removed channel still sends goes into this bias.

        Args:
            layer: The layer, at its full size.

        Returns:
            A tuple of ints; () if the layer can have no bias. A channel that
            sends it a constant then stays. Unless a rule overrides this, it
            is ().
        """
        return ()

    def folds_exactly(self, layer):
        """Whether a constant input channel acts exactly as a bias does.

        Args:
            layer: The layer, at its full size.

        Returns:
            A boolean. Unless a rule overrides this, it is `False`: constants
            are then folded into the bias only with `on_constant="fold"`; see
            `sums_channels` for what happens without it.
        """
        return False

    def sums_channels(self, layer):
        """Whether a layer sums up the channels that it reads.

        Each of them times, or convolved with, its own part of each weight of
        role "input": one channel that sends a constant can then carry the
        constants of others, with a part that adds up theirs.

        Args:
            layer: The layer, at its full size.

        Returns:
            A boolean. Unless a rule overrides this, it is `False`.
        """
        return False


@dataclasses.dataclass(frozen=True)
class Kept:
    """What stays of a tensor or a weight.

    Attributes:
        full: The shape before, a tuple.
        masks: Per axis one bool per index, or None where all stay.
    """

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
        inputs: One `Kept` per input.
        outputs: One `Kept` per output.
        weights: {weight name or path: `Kept`}.
    """

    inputs: list
    outputs: list
    weights: dict
