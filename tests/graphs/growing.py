"""Random graphs, grown block by block."""

import math

import keras
import numpy as np
from keras import layers
from keras.utils import get_source_inputs

from graphs.draws import ANY
from graphs.draws import KINDS
from graphs.draws import SPATIAL
from graphs.draws import VECTOR
from graphs.draws import coin
from graphs.draws import inner_inputs
from graphs.draws import pick
from graphs.draws import ranked
from graphs.draws import whole
from graphs.draws import width

# A block whose output has none, or more values per sample, is not taken.
MOST_VALUES = 1200

# What models of free sizes are run with.
SIZES = ((8, 8, 4), (9, 12, 5), (12, 11, 7))


def grow(x, rng, steps, kinds=None):
    """The tensors that a chain of random blocks passes, the first given."""
    seen = [x]
    while steps > 0:
        steps -= 1
        makes = len(seen) == 1 or coin(rng, 0.4)
        names = [
            name
            for name, kind in (kinds or KINDS).items()
            if len(x.shape) in kind.ranks and (kind.makes or not makes)
        ]
        y = KINDS[pick(rng, names)].build(x, rng)
        values = math.prod(y.shape[1:])
        if len(y.shape) not in ANY or not 0 < values <= MOST_VALUES:
            continue
        x = y
        alike = [t for t in seen if tuple(t.shape) == tuple(x.shape)]
        if alike and coin(rng, 0.2):  # A connection over several blocks.
            layer = pick(rng, [layers.Add, layers.Concatenate, layers.Multiply])
            x = layer()([x, pick(rng, alike)])
        seen.append(x)
    return seen


def sources(first, outputs):
    """All inputs of a graph, this one first."""
    found = [first]
    for output in keras.tree.flatten(outputs):
        for tensor in get_source_inputs(output):
            if not any(tensor is known for known in found):
                found.append(tensor)
    return found if len(found) > 1 else first


def sequential(shape, rng, steps):
    """A Sequential model of the kinds that are one layer."""
    model = keras.Sequential([keras.Input(shape)])
    x = keras.Input(shape)
    while steps > 0 or not model.layers:
        steps -= 1
        names = [
            name
            for name, kind in KINDS.items()
            if len(x.shape) in kind.ranks
            and name not in ("nested_sequential", "another_input")
        ]
        y = KINDS[pick(rng, names)].build(x, rng)
        layer = y._keras_history.operation
        alone = isinstance(layer, layers.Layer) and layer.input is x
        if alone and math.prod(y.shape[1:]) <= MOST_VALUES:
            model.add(layer)
            x = inner_inputs(y)
    return model


def random_input(rng):
    shape = pick(
        rng,
        [
            (whole(rng, 3, 8),),
            (whole(rng, 4, 8), width(rng)),
            (whole(rng, 4, 8), width(rng)),
            *[(whole(rng, 6, 9), whole(rng, 6, 9), whole(rng, 1, 4))] * 4,
            (4, 4, whole(rng, 3, 4), whole(rng, 1, 3)),
        ],
    )
    return keras.Input(shape)


def head(x, rng, free):
    """An output of the model, of no fixed size if sizes are to be free."""
    if len(x.shape) > VECTOR:
        pool = ranked("GlobalAveragePooling", x)()
        x = (pool if free or coin(rng) else layers.Flatten())(x)
    last = pick(rng, [None, "softmax", "sigmoid"])
    return layers.Dense(whole(rng, 1, 4), activation=last)(x)


def random_model(rng):
    """A small model with random layers and random weights.

    Args:
        rng: A `numpy.random.Generator`.
    """
    keras.utils.clear_session(free_memory=False)
    inputs = random_input(rng)
    free = coin(rng, 0.4)
    if coin(rng, 0.1):
        model = sequential(inputs.shape[1:], rng, whole(rng, 3, 7))
        model.add(layers.Flatten())
        model.add(layers.Dense(3))
    else:
        start = inputs
        if len(inputs.shape) in SPATIAL and coin(rng):
            start = KINDS["normed_convs"].build(inputs, rng)
        seen = grow(start, rng, whole(rng, 2, 4 if free else 6))
        ends = [seen[-1]]
        if coin(rng, 0.25):
            ends.append(pick(rng, seen[1:] or seen))
        outputs = [x if coin(rng, 0.15) else head(x, rng, free) for x in ends]
        model = keras.Model(sources(inputs, outputs), outputs)
    if free:
        model = freed(model)
    randomize(model, rng)
    if coin(rng):
        # As in a process that did not build the model: names start anew.
        keras.utils.clear_session(free_memory=False)
    return model


def freed(model):
    """The model with free sizes; as it is, where it counts positions."""
    if len(model.inputs) != 1:
        return model
    _, *positions, channels = model.inputs[0].shape
    inputs = keras.Input((*[None] * len(positions), channels))
    try:
        free = keras.models.clone_model(model, input_tensors=inputs)
        for sizes in SIZES[:2]:
            free(np.zeros((3, *sizes[: len(positions)], channels)))
    except Exception:
        return model
    return free


def randomize(model, rng):
    """Random weights; some channels are made or read by zeros alone.

    In some models the first half of the filters of most layers is zero.
    """
    dead = {id(layer) for layer in model.layers if coin(rng, 0.04)}
    sparse = coin(rng, 0.75)
    for layer in model.layers:
        halved = sparse and coin(rng, 0.9)
        for weight in layer.weights:
            name, shape = weight.name, tuple(weight.shape)
            if name in ("moving_variance", "gamma", "scale"):
                values = rng.uniform(0.3, 1.5, size=shape)
                if name != "moving_variance":
                    values[rng.random(shape) < 0.15] = 0
            elif "kernel" in name:
                size = math.prod(shape) / shape[-1]
                values = rng.normal(size=shape) * 1.2 / np.sqrt(size)
                for axis in range(max(0, len(shape) - 2), len(shape)):
                    zero = rng.random(shape[axis]) < 0.15
                    if halved and axis == len(shape) - 1:
                        zero |= np.arange(shape[axis]) < shape[axis] // 2
                    np.moveaxis(values, axis, 0)[zero] = 0
                values *= id(layer) not in dead
            else:
                values = rng.normal(size=shape) * 0.4
                values[rng.random(shape) < 0.3] = 0
                values *= id(layer) not in dead
            weight.assign(values)
