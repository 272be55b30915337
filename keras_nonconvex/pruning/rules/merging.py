"""Layers and operations that join several tensors."""

import collections

import keras
import numpy as np
from keras import KerasTensor
from keras import layers

from keras_nonconvex.graph import outputs_for
from keras_nonconvex.pruning.rules import judging
from keras_nonconvex.pruning.rules.base import CannotFollow
from keras_nonconvex.pruning.rules.base import Rule
from keras_nonconvex.pruning.rules.base import Tensor
from keras_nonconvex.pruning.rules.base import positions
from keras_nonconvex.pruning.rules.base import rule


@rule(
    layers.Add,
    layers.Subtract,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    # x + scale * y, in InceptionResNetV2.
    "CustomScaleLayer",
    *"Add Subtract Maximum Minimum Where".split(),
)
class MergingRule(Rule):
    """Value by value, broadcast: what meets is tied."""

    def channels(self, layer, inputs, walk):
        shape = walk.shapes[0]
        out = positions(shape)
        merge = isinstance(layer, layers.Layer)
        tensors = [_aligned(x, len(shape), merge) for x in inputs]
        for axis in range(len(shape)):
            meeting = []
            for x in tensors:
                if x.shape[axis] == 1 and shape[axis] != 1:
                    walk.freeze(x.axes[axis], f"'{layer.name}' broadcasts it")
                else:
                    meeting.append(x.axes[axis])
            out = out.with_ids(walk.tied(meeting, layer), axis)
        if not merge:
            walk.cut_arrays(out)
        return out


@rule(layers.Multiply, "Multiply")
class MultiplicationRule(MergingRule):
    multiplies = True


@rule("Divide", "TrueDivide")
class DivisionRule(MergingRule):
    """Channels may be divided by what has none: 0 / 0 is no constant."""

    def channels(self, layer, inputs, walk):
        dividend = walk.argument(0)
        if len(inputs) != 1 or not isinstance(dividend, KerasTensor):
            raise CannotFollow(f"'{layer.name}' divides by them")
        return super().channels(layer, inputs, walk)


@rule(layers.Lambda, keras.Operation)
class JudgedRule(MergingRule):
    """Operations and lambdas that have no rule of their own.

    They are followed if they work value by value, and if zeros give something
    finite; see `judging`.
    """

    def channels(self, layer, inputs, walk):
        given = walk.call.inputs
        zero = None
        if len(inputs) == len(given) and len(walk.shapes) == 1:
            zero = judging.at_zero(
                lambda *tensors: outputs_for(walk.call, tensors)[0],
                walk.shapes[0],
                [t.dtype for t in given],
            )
        if zero is None or not np.isfinite(zero):
            raise CannotFollow(
                f"no rule for {type(layer).__name__} '{layer.name}'"
            )
        return super().channels(layer, inputs, walk)


@rule("Power")
class PowerRule(MergingRule):
    def channels(self, layer, inputs, walk):
        exponent = walk.argument(1)
        if not isinstance(exponent, (int, float)) or exponent <= 0:
            raise CannotFollow(f"'{layer.name}' is no power of them")
        return inputs[0]


def _aligned(x, rank, merge):
    """The tensor with the axes that broadcasting gives it.

    Merge layers put them behind the batch axis, operations before it.
    """
    more = rank - len(x.shape)
    at = 1 if merge else 0
    return Tensor(
        x.shape[:at] + (1,) * more + x.shape[at:],
        x.axes[:at] + (None,) * more + x.axes[at:],
    )


@rule(layers.Dot, "Matmul", "Einsum")
class ProductRule(Rule):
    """Axes of one letter are tied; of zeros nothing is left in a sum."""

    def channels(self, layer, inputs, walk):
        factors = _factors(layer, inputs, walk)
        words, result = self.equation(layer, [x for _, x in factors])
        meeting = collections.defaultdict(list)
        sizes = collections.defaultdict(set)
        for (place, x), word in zip(factors, words, strict=True):
            if len(set(word)) < len(word):
                raise CannotFollow(f"'{layer.name}' takes a diagonal")
            for letter, ids, size in zip(word, x.axes, x.shape, strict=True):
                sizes[letter].add(size)
                if place is None:
                    meeting[letter].append(ids)
        if any(1 in found and len(found) > 1 for found in sizes.values()):
            raise CannotFollow(f"'{layer.name}' broadcasts")
        tied = {k: walk.tied(ids, layer) for k, ids in meeting.items()}
        for letter, ids in tied.items():
            if letter not in result:
                walk.needs_zero(ids)
        for (place, x), word in zip(factors, words, strict=True):
            for axis, letter in enumerate(word):
                if place is None:
                    # A constant times what changes is no constant.
                    walk.mixes(x, axis)
                elif tied.get(letter) is not None:
                    walk.cut_array(place, axis, tied[letter])
        out = positions(walk.shapes[0])
        for axis, letter in enumerate(result[: len(out.shape)]):
            out = out.with_ids(tied.get(letter), axis)
        return out

    def equation(self, layer, factors):
        """(letters of each factor, letters of the result)."""
        ranks = [len(x.shape) for x in factors]
        if isinstance(layer, layers.Dot):
            axes = layer.axes
            axes = (axes, axes) if isinstance(axes, int) else axes
            words = [list(range(10, 10 + n)) for n in ranks]
            words[1] = [n + 10 for n in words[1]]
            for word, axis in zip(words, axes, strict=True):
                word[0], word[axis] = 0, 1
            rest = [n for word in words for n in word[1:] if n != 1]
            return words, [0, *rest]
        if hasattr(layer, "subscripts"):
            return _written(layer, ranks)
        if len(factors) != 2 or ranks[0] != ranks[1] or ranks[0] < 2:
            raise CannotFollow(f"'{layer.name}' broadcasts")
        batch = list(range(10, 8 + ranks[0]))
        return [[*batch, 0, 1], [*batch, 1, 2]], [*batch, 0, 2]


def _factors(layer, inputs, walk):
    """The factors of a product: (place among the arguments, `Tensor`).

    The place is None for an input, and the tensor one of positions for a
    constant.
    """
    if isinstance(layer, layers.Layer):
        return [(None, x) for x in inputs]
    known = {id(t): x for t, x in zip(walk.given, inputs, strict=True)}
    factors = []
    for place, leaf in enumerate(walk.arguments):
        if id(leaf) in known:
            factors.append((None, known[id(leaf)]))
        elif isinstance(leaf, keras.Variable):
            raise CannotFollow(f"'{layer.name}' has a weight for a factor")
        elif np.ndim(leaf):
            factors.append((place, positions(np.shape(leaf))))
    return factors


def _written(layer, ranks):
    """As `ProductRule.equation`, of what Einsum has written out."""
    left, arrow, result = layer.subscripts.replace(" ", "").partition("->")
    words = left.split(",")
    if not arrow or len(words) != len(ranks):
        raise CannotFollow(f"'{layer.name}' has an equation without a result")
    pairs = zip(ranks, words, strict=True)
    more = {n - len(word) + 3 for n, word in pairs if "..." in word}
    if len(more) > 1:
        raise CannotFollow(f"'{layer.name}' broadcasts")
    dots = "".join(str(i) for i in range(*more)) if more else ""
    return [w.replace("...", dots) for w in words], result.replace("...", dots)


@rule(layers.Concatenate, "Concatenate")
class ConcatenateRule(Rule):
    concatenates = True

    def channels(self, layer, inputs, walk):
        shape = walk.shapes[0]
        axis = layer.axis % len(shape)
        out = positions(shape)
        for other in range(len(shape)):
            meeting = [x.axes[other] for x in inputs]
            if other != axis:
                ids = walk.tied(meeting, layer)
            elif all(ids is None for ids in meeting):
                ids = None
            else:
                ids = np.concatenate(
                    [
                        walk.stuck(x.shape[axis], f"'{layer.name}' adds it")
                        if x.axes[axis] is None
                        else x.axes[axis]
                        for x in inputs
                    ]
                )
            out = out.with_ids(ids, other)
        return out
