"""Attention and recurrent layers: whole heads, whole units."""

import numpy as np
from keras import activations
from keras import layers

from keras_nonconvex import time_steps
from keras_nonconvex.pruning.rules import judging
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import find
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule
from keras_nonconvex.pruning.rules.moving import Moving


@rule(layers.MultiHeadAttention)
class AttentionRule(Rule):
    """A head is one channel, inside of the layer."""

    def channels(self, layer, inputs, walk):
        arguments = walk.call.node.arguments
        known = {id(t): x for t, x in zip(walk.given, inputs, strict=True)}
        names = ["query", "value", "key"]
        tensors = dict(zip(names, arguments.args, strict=False))
        tensors.update(
            {k: v for k, v in arguments.kwargs.items() if k in names}
        )
        tensors.setdefault("key", tensors["value"])
        if any(id(t) not in known for t in tensors.values()):
            raise CannotFollow(f"'{layer.name}' has inputs of several parts")
        if len(layer.output_dense.kernel.shape) != 3:
            raise CannotFollow(f"'{layer.name}' has an output of several axes")
        heads = walk.make(layer.num_heads)
        for name in names:
            x = known[id(tensors[name])]
            for axis in x.labelled:
                if axis != len(x.shape) - 1:
                    walk.freeze(
                        x.axes[axis], f"'{layer.name}' attends over them"
                    )
            dense = getattr(layer, f"{name}_dense")
            self._heads(layer, dense, x.ids, heads, "filter", walk)
        gate = getattr(layer, "_gate_dense", None)
        if gate is not None:
            ids = known[id(tensors["query"])].ids
            self._heads(layer, gate, ids, heads, "state", walk)
        dense = layer.output_dense
        walk.use(layer, dense.kernel, 0, heads, "inner")
        out = walk.make(dense.kernel.shape[-1])
        walk.use(
            layer, dense.kernel, len(dense.kernel.shape) - 1, out, "filter"
        )
        if dense.bias is not None:
            walk.use(layer, dense.bias, 0, out, "bias")
        outs = [positions(shape) for shape in walk.shapes]
        outs[0] = outs[0].with_ids(out)
        if len(outs) > 1:
            # The attention scores, one matrix per head.
            outs[1] = outs[1].with_ids(heads, 1)
        return outs

    def _heads(self, layer, dense, ids, heads, role, walk):
        """Declares a projection to all heads."""
        walk.use(layer, dense.kernel, 0, ids, "input")
        walk.use(layer, dense.kernel, 1, heads, role)
        if dense.bias is not None:
            role = "bias" if role == "filter" else role
            walk.use(layer, dense.bias, 0, heads, role)

    def resized(self, layer, cut):
        return {
            "num_heads": cut.weights[layer.query_dense.kernel.path].shape[1],
            "output_shape": cut.outputs[0].shape[-1:],
        }

    def sums_channels(self, layer):
        return True


@rule(layers.SimpleRNN, layers.LSTM, layers.GRU)
class RecurrentRule(Rule):
    """A unit that is zero stays so in time, if its activation is 0 at 0."""

    def channels(self, layer, inputs, walk):
        units = self.units(layer, inputs, walk)
        return [positions(shape).with_ids(units) for shape in walk.shapes]

    def units(self, layer, inputs, walk):
        """The ids of a layer's units, its weights declared."""
        if len(inputs) != 1 or layer.stateful:
            raise CannotFollow(f"'{layer.name}' has an initial state")
        (x,) = inputs
        if x.labelled and x.labelled != [2]:
            walk.freeze(x.axes[1], f"'{layer.name}' goes along them")
        cell = layer.cell
        units = walk.make(layer.units)
        gates = cell.kernel.shape[1] // layer.units
        walk.use(layer, cell.kernel, 0, x.axes[2], "input")
        walk.use(layer, cell.recurrent_kernel, 0, units, "inner")
        every = np.tile(units, gates)
        for kernel in (cell.kernel, cell.recurrent_kernel):
            walk.use(layer, kernel, 1, every, "filter")
        if cell.bias is not None:
            # A GRU may have one bias per kernel: (2, units).
            rank = len(cell.bias.shape)
            walk.use(layer, cell.bias, rank - 1, every, "bias")
        known = [activations.tanh, activations.relu]
        if layer.activation not in known and _at_zero(layer.activation) != 0:
            walk.freeze(
                units, f"'{layer.name}' has an activation that is not 0 at 0"
            )
        gate = getattr(layer, "recurrent_activation", activations.sigmoid)
        if gate is not activations.sigmoid and not np.isfinite(_at_zero(gate)):
            walk.freeze(units, f"'{layer.name}' has gates that mix its units")
        return units

    def resized(self, layer, cut):
        return {"units": cut.weights[layer.cell.recurrent_kernel.path].shape[0]}

    def sums_channels(self, layer):
        return True


def _at_zero(activation):
    """What an activation gives for 0, NaN if it is not value by value."""
    if isinstance(activation, layers.Layer):
        return np.nan
    zero = judging.activation_at_zero(activation, (None, None))
    return np.nan if zero is None else zero


@rule(layers.Bidirectional)
class BidirectionalRule(Rule):
    """Both directions have one size: their units go in pairs."""

    def channels(self, layer, inputs, walk):
        parts = [layer.forward_layer, layer.backward_layer]
        for part in parts:
            if not isinstance(find(part), RecurrentRule):
                kind = type(part).__name__
                raise CannotFollow(f"'{layer.name}' has a {kind} inside")
        if (
            len(walk.shapes) != 1
            or layer.merge_mode is None
            or parts[0].units != parts[1].units
        ):
            raise CannotFollow(f"'{layer.name}' has several outputs")
        one, other = (find(part).units(part, inputs, walk) for part in parts)
        walk.tie(one, other)
        if layer.merge_mode == "concat":
            return np.concatenate([one, other])
        return one

    def resized(self, layer, cut):
        changes = {"config": RecurrentRule().resized(layer.forward_layer, cut)}
        if "backward_layer" in layer.get_config():
            return {"layer": changes, "backward_layer": changes}
        return {"layer": changes}

    def sums_channels(self, layer):
        return True


@rule(layers.TimeDistributed)
class TimeDistributedRule(Rule):
    """What the inner layer does, with one axis more."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        inner = find(layer.layer)
        if inner is None:
            kind = type(layer.layer).__name__
            raise CannotFollow(f"no rule for {kind} in '{layer.name}'")
        walk.freeze(x.axes[1], f"'{layer.name}' goes along them")
        if isinstance(inner, Moving):
            return inner.channels(layer, inputs, walk)
        with walk.without_time():
            outs = inner.channels(layer.layer, [without_time(x)], walk)
        out = outs[0] if isinstance(outs, list) else outs
        result = positions(walk.shapes[0])
        if isinstance(out, np.ndarray):
            return result.with_ids(out)
        for axis, ids in enumerate(out.axes[1:], start=2):
            result = result.with_ids(ids, axis)
        return result

    def resized(self, layer, cut):
        inner = type(cut)(
            [_kept_without_time(k) for k in cut.inputs],
            [_kept_without_time(k) for k in cut.outputs],
            cut.weights,
        )
        changes = find(layer.layer).resized(layer.layer, inner)
        return {"layer": {"config": changes}}

    def sums_channels(self, layer):
        return find(layer.layer).sums_channels(layer.layer)

    def bias_axes(self, layer):
        axes = find(layer.layer).bias_axes(layer.layer)
        return tuple(axis if axis < 0 else axis + 1 for axis in axes)

    def folds_exactly(self, layer):
        return find(layer.layer).folds_exactly(layer.layer)


@rule(time_steps.AsSamples)
class AsSamplesRule(Rule):
    """Time steps become samples: they have to stay."""

    def channels(self, layer, inputs, walk):
        (x,) = inputs
        walk.freeze(
            x.axes[1], f"'{walk.call.path[-1].operation.name}' goes along them"
        )
        return without_time(x)


@rule(time_steps.AsSteps)
class AsStepsRule(Rule):
    def channels(self, layer, inputs, walk):
        (x,) = inputs
        return Tensor(walk.shapes[0], (None, *x.axes))


def without_time(x):
    """A tensor without its second axis."""
    return type(x)(x.shape[:1] + x.shape[2:], x.axes[:1] + x.axes[2:])


def _kept_without_time(kept):
    return type(kept)(
        kept.full[:1] + kept.full[2:], kept.masks[:1] + kept.masks[2:]
    )
