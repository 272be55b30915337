"""Units: what is refitted at once, and what it is refitted to."""

import collections
import dataclasses

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex.pruning.refitting import patches

_linear = keras.activations.linear
# Layers that hand their input on in inference.
_IDENTITY = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)


@dataclasses.dataclass
class Aim:
    """One call of a refitted layer, and what it is to give.

    Attributes:
        call: The call in the small model.
        twin: The same call in the dense model.
        target: Symbolic tensor of the dense model that the layer, its
            normalization and `others` are to add up to. None: the layer is to
            give what the dense one gives before its activation.
        others: Symbolic tensors of the small model.
    """

    call: graph.Call
    twin: graph.Call
    target: keras.KerasTensor | None = None
    others: tuple = ()

    @property
    def mine(self):
        """What it needs of the small model."""
        return [self.call.inputs[0], *self.others]

    @property
    def theirs(self):
        """What it needs of the dense model."""
        return self.twin.inputs[0] if self.target is None else self.target


@dataclasses.dataclass
class Unit:
    """A layer that is refitted.

    Attributes:
        name: Its name, "model/layer" if nested.
        layer: The layer of the small model.
        aims: One `Aim` per call of it.
        norm: The batch normalization that alone reads it, or None.
        low: What an activation that follows cuts off below, minus infinity if
            it does not.
        high: The same above.
    """

    name: str
    layer: layers.Layer
    aims: list
    norm: layers.Layer | None = None
    low: float = -np.inf
    high: float = np.inf


class Calls:
    """The calls of a model by name, and who reads what.

    Args:
        calls: The calls, a list of `keras_nonconvex.graph.Call`.
        outputs: The symbolic tensors that the model returns.
    """

    def __init__(self, calls, outputs):
        self.calls = calls
        self.inputs = [c.outputs[0] for c in calls if c.node.is_input]
        self.of = collections.defaultdict(list)
        self._readers = collections.defaultdict(list)
        self._place = {}
        for call in calls:
            name = graph.name(call)
            self._place[id(call)] = name, len(self.of[name])
            self.of[name].append(call)
            for tensor in call.inputs:
                self._readers[id(tensor)].append(call)
        for tensor in outputs:
            self._readers[id(tensor)].append(None)

    def reader(self, tensor):
        """The call that alone reads a tensor, or None."""
        readers = self._readers[id(tensor)]
        return readers[0] if len(readers) == 1 else None

    def twin(self, call, other):
        """The call of the same name among other `Calls`, or None."""
        name, place = self._place[id(call)]
        same = other.of.get(name, [])
        return same[place] if place < len(same) else None


def find(small, dense):
    """The layers to refit, in order.

    Args:
        small: The `Calls` of the small model.
        dense: Those of the dense one.

    Returns:
        (list of `Unit`, {name of another layer with weights: why it stays as
        it is}).
    """
    found, skipped, merged = [], {}, set()
    last = _last_refitted(small.calls)
    for name, calls in small.of.items():
        layer = calls[0].operation
        if id(layer) in merged or not getattr(layer, "weights", None):
            continue
        twins = dense.of.get(name, [])
        why = _obstacle(layer, calls, twins)
        if why:
            skipped[name] = why
            continue
        unit = Unit(name, layer, list(map(Aim, calls, twins)))
        if getattr(layer, "activation", _linear) is not _linear:
            unit.low, unit.high = _bounds(layer.activation)
        elif len(calls) == 1:
            _widen(unit, small, dense, last)
        if unit.norm is not None:
            merged.add(id(unit.norm))
        found.append(unit)
    return found, skipped


def _obstacle(layer, calls, twins):
    """Why a layer cannot be refitted; "" if it can."""
    found = patches.find(layer)
    if found is None:
        return f"a {type(layer).__name__} is not refitted"
    if getattr(layer, "quantization_mode", None):
        return "its kernel is quantized"
    if getattr(layer, "lora_enabled", False):
        return "its kernel has LoRA"
    if found.obstacle:
        return found.obstacle
    if not twins or type(twins[0].operation) is not type(layer):
        return "the dense model has no such layer"
    if len(calls) != len(twins):
        return "the dense model calls it at other places"
    return ""


def _widen(unit, small, dense, last):
    """Lets a linear layer aim at what its normalization or its sum gives."""
    (aim,) = unit.aims
    if isinstance(unit.layer, layers.BatchNormalization):
        aim.target = aim.twin.outputs[0]
    tensor = aim.call.outputs[0]
    reader = small.reader(tensor)
    if reader is not None and _is_norm_of(reader, aim.call, small):
        twin = small.twin(reader, dense)
        if twin is not None and twin.inputs[0] is aim.twin.outputs[0]:
            unit.norm = reader.operation
            tensor, aim.target = reader.outputs[0], twin.outputs[0]
            reader = small.reader(tensor)
    while reader is not None and type(reader.operation) in _IDENTITY:
        tensor = reader.outputs[0]
        reader = small.reader(tensor)
    if reader is not None and last.get(id(reader)) is aim.call:
        if _aim_at_sum(aim, tensor, reader, small.twin(reader, dense)):
            reader = small.reader(reader.outputs[0])
    if reader is not None and not getattr(reader.operation, "weights", ()):
        unit.low, unit.high = _bounds(
            lambda x: graph.outputs_for(reader, [x])[0]
        )


def _bounds(function):
    """Where an activation cuts off and does nothing else: (low, high).

    It is judged by what it does, whatever its name: ReLU has (0, infinity),
    ReLU6 (0, 6), and what is no such function minus infinity and infinity.
    """
    # Numbers that float16 and bfloat16 have.
    grid = np.arange(-160, 161, dtype="float32")[None] / 8
    try:
        y = function(ops.convert_to_tensor(grid))
        y = ops.convert_to_numpy(ops.cast(y, "float32"))
    except Exception:
        # It takes several inputs, or other shapes.
        return -np.inf, np.inf
    low, high = y.min(), y.max()
    if not np.array_equal(y, np.clip(grid, low, high)):
        return -np.inf, np.inf
    return (
        -np.inf if low == grid.min() else float(low),
        np.inf if high == grid.max() else float(high),
    )


def _is_norm_of(reader, call, small):
    """Whether a call normalizes the channels of another one, and only them."""
    layer = reader.operation
    rank = len(call.outputs[0].shape)
    return (
        type(layer) is layers.BatchNormalization
        and not isinstance(call.operation, layers.BatchNormalization)
        and not patches.find(layer).obstacle
        and len(small.of[graph.name(reader)]) == 1
        and (layer.axis % rank,) == patches.find(call.operation).axes(rank)
    )


def _aim_at_sum(aim, tensor, reader, twin):
    """Takes the dense sum as the target, if the reader is the same sum.

    Returns:
        Whether it is.
    """
    same = (
        type(reader.operation).__name__ == "Add"
        and twin is not None
        and len(twin.inputs) == len(reader.inputs) > 1
        and len({tuple(t.shape) for t in reader.inputs}) == 1
    )
    if same:
        aim.target = twin.outputs[0]
        aim.others = tuple(t for t in reader.inputs if t is not tensor)
    return same


def _last_refitted(calls):
    """{id of a call: the last call of a kernel that it depends on}."""
    order = {id(call): i for i, call in enumerate(calls)}
    last, of_tensor = {}, {}
    for call in calls:
        before = [of_tensor[id(t)] for t in call.inputs]
        latest = max(
            (c for c in before if c is not None),
            key=lambda c: order[id(c)],
            default=None,
        )
        last[id(call)] = latest
        if patches.find(call.operation) is not None and not isinstance(
            call.operation, layers.BatchNormalization
        ):
            latest = call
        of_tensor.update((id(t), latest) for t in call.outputs)
    return last
