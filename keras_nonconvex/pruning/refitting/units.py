"""Units: what is refitted at once, and what it is refitted to."""

import collections
import dataclasses

import keras
from keras import layers

from keras_nonconvex import graph
from keras_nonconvex.pruning.refitting import patches

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
class Unit:
    """A layer that is refitted, with what belongs to it.

    Attributes:
        name: The layer's name, "model/layer" if nested.
        call: The call of the layer in the small model.
        norm: The batch normalization that alone reads it, or None.
        input: The symbolic tensor that the layer reads.
        others: Symbolic tensors of the small model: what is added to it.
        target: Symbolic tensor of the dense model: what it, or the sum with
            the others, is to become.
        linear: The dense model's call whose activation is left out to get
            the target, or None.
    """

    name: str
    call: graph.Call
    norm: layers.Layer | None
    input: keras.KerasTensor
    others: list
    target: keras.KerasTensor
    linear: graph.Call | None


class Calls:
    """The calls of a model, by name.

    Attributes:
        calls: All calls, in order.
        of: {(name, how often before): call}.
        outputs: The symbolic tensors that the model returns.
    """

    def __init__(self, calls, outputs):
        self.calls, self.outputs = calls, outputs
        self.inputs = [c.outputs[0] for c in self.calls if c.node.is_input]
        times = collections.Counter()
        self.of, self.keys = {}, {}
        for call in self.calls:
            key = graph.name(call)
            key = key, times[key]
            times[key[0]] += 1
            self.of[key] = call
            self.keys[id(call)] = key
        self.times = times
        self.readers = collections.defaultdict(list)
        for call in self.calls:
            for tensor in call.inputs:
                self.readers[id(tensor)].append(call)
        for tensor in self.outputs:
            self.readers[id(tensor)].append(None)

    def only_reader(self, tensor):
        """The call that alone reads a tensor, or None."""
        readers = self.readers[id(tensor)]
        return readers[0] if len(readers) == 1 else None


def find(small, dense):
    """The units of a small model, in order, and {name: why not} of the rest.

    Args:
        small: The `Calls` of the small model.
        dense: Those of the dense one.
    """
    taken, units, skipped = set(), [], {}
    last_unit = _last_units(small)
    for call in small.calls:
        layer = call.operation
        name, times = small.keys[id(call)]
        weights = getattr(layer, "weights", [])
        if id(layer) in taken or not weights:
            continue
        if patches.find(layer) is None:
            skipped[name] = f"{type(layer).__name__} is not refitted"
            continue
        if small.times[name] > 1:
            skipped[name] = "it is called more than once"
            continue
        if (name, 0) not in dense.of:
            skipped[name] = "the dense model has no such layer"
            continue
        unit = _unit(call, small, dense, last_unit)
        if unit.norm is not None:
            taken.add(id(unit.norm))
        units.append(unit)
    return units, skipped


def _unit(call, small, dense, last_unit):
    name, _ = key = small.keys[id(call)]
    twin, norm = dense.of[key], None
    unit = Unit(name, call, None, call.inputs[0], [], twin.outputs[0], twin)
    if getattr(call.operation, "activation", None) not in (
        None,
        keras.activations.linear,
    ):
        return unit
    unit.linear = None
    end = call
    reader = small.only_reader(call.outputs[0])
    if reader is not None and _normalizes(reader, call, small):
        twin_of_norm = dense.of.get(small.keys[id(reader)])
        if twin_of_norm is not None and twin_of_norm.inputs[0] is unit.target:
            norm, end = reader, reader
            unit.norm, unit.target = norm.operation, twin_of_norm.outputs[0]
    _take_sum(unit, call, end, small, dense, last_unit)
    return unit


def _normalizes(reader, call, small):
    layer = reader.operation
    return (
        type(layer) is layers.BatchNormalization
        and type(call.operation) is not layers.BatchNormalization
        and layer.scale
        and layer.center
        and small.times[small.keys[id(reader)][0]] == 1
        and patches.find(layer).axis(len(call.outputs[0].shape))
        == patches.find(call.operation).axis(len(call.outputs[0].shape))
    )


def _take_sum(unit, call, end, small, dense, last_unit):
    """Lets a unit that is the last before a sum aim at the sum."""
    tensor = end.outputs[0]
    reader = small.only_reader(tensor)
    while reader is not None and type(reader.operation) in _IDENTITY:
        tensor = reader.outputs[0]
        reader = small.only_reader(tensor)
    if reader is None or type(reader.operation).__name__ != "Add":
        return
    if last_unit[id(reader)] is not call:
        return
    twin = dense.of.get(small.keys[id(reader)])
    shapes = {tuple(t.shape) for t in reader.inputs}
    if twin is None or len(twin.inputs) != len(reader.inputs):
        return
    if len(shapes) > 1:
        return
    unit.others = [t for t in reader.inputs if t is not tensor]
    unit.target = twin.outputs[0]


def _last_units(calls):
    """{id of a call: the last refitted layer's call that it depends on}."""
    order = {id(call): i for i, call in enumerate(calls.calls)}
    last, of_tensor = {}, {}
    for call in calls.calls:
        found = [of_tensor[id(t)] for t in call.inputs]
        found = [c for c in found if c is not None]
        latest = max(found, key=lambda c: order[id(c)], default=None)
        last[id(call)] = latest
        refitted = (
            patches.find(call.operation) is not None
            and type(call.operation) is not layers.BatchNormalization
        )
        of_tensor.update(
            (id(t), call if refitted else latest) for t in call.outputs
        )
    return last
