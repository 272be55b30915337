"""The regression of one unit: rows in, weights out."""

import math

import numpy as np
from keras import layers

from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting.least_squares import Moments
from keras_nonconvex.pruning.refitting.least_squares import Samples

# Every so many batches, one is held out.
HELD_OUT = 5


class Fit:
    """Refits one unit to the dense model, and says how well.

    Args:
        unit: A `Unit`.
        stays: Function (symbolic tensor of the dense model, axis) -> one bool
            per index, or None where all stay.
        positions: How many positions of a sample are looked at, at most.
        rows: How many rows to expect.
        generator: A `numpy.random.Generator`.
    """

    def __init__(self, unit, stays, positions, rows, generator):
        self.unit = unit
        self.patches = patches.find(unit.layer)
        self.stays = stays
        self.positions = positions
        self.generator = generator
        features = self.patches.old.shape[1]
        kind = Moments if features < rows else Samples
        self.fitted, self.held_out = kind(), kind()

    def add(self, batch, aim, given, others, theirs):
        """Takes in a batch of one call.

        Args:
            batch: The number of the batch, from 0.
            aim: The `Aim`.
            given: What the small layer reads.
            others: What is added to it.
            theirs: What the dense model gives for `aim.theirs`.
        """
        shape = self.unit.layer.compute_output_shape(given.shape)
        axis = self.patches.axis(len(shape))
        sizes = [n for i, n in enumerate(shape) if i not in (0, axis)]
        picked = self._picked(len(given), sizes)
        y = self._targets(aim, theirs, axis, picked)
        for other in others:
            y = y - patches.at(np.moveaxis(other, axis, -1), picked)
        x = np.moveaxis(given, self.patches.axis(given.ndim), -1)
        rows = self.patches.rows(x, picked)
        y = y.reshape(-1, len(rows), y.shape[-1] // len(rows))
        held_out = batch % HELD_OUT == HELD_OUT - 1
        moments = self.held_out if held_out else self.fitted
        moments.add(rows, np.moveaxis(y, 1, 0))

    def _picked(self, samples, sizes):
        """Random positions: (samples, count, axes)."""
        total = math.prod(sizes)
        order = self.generator.random((samples, total)).argsort(axis=1)
        chosen = order[:, : self.positions]
        if not sizes:
            return np.zeros((samples, 1, 0), int)
        return np.stack(np.unravel_index(chosen, sizes), axis=-1)

    def _targets(self, aim, theirs, axis, picked):
        """What the dense model gives there: (samples, count, outputs)."""
        result = aim.target if aim.target is not None else aim.twin.outputs[0]
        stays = self.stays(result, axis)
        if aim.target is not None:
            found = patches.at(np.moveaxis(theirs, axis, -1), picked)
        else:
            dense = patches.find(aim.twin.operation)
            x = np.moveaxis(theirs, dense.axis(theirs.ndim), -1)
            found = dense.rows(x, picked) @ dense.old
            found = np.moveaxis(found, 0, 1).reshape(*picked.shape[:2], -1)
            found = found + bias_of(aim.twin.operation)
        return found if stays is None else found[..., stays]

    def finish(self, ridge):
        """Sets the layer's weights, if that is better on what was held out.

        Args:
            ridge: A number > 0, as in `repair`.

        Returns:
            (share of the variance explained before, after); the weights were
            left alone where the second is not greater.
        """
        old = self._old()
        new = self.fitted.ridge(old, ridge)
        judge = self.held_out if self.held_out.count else self.fitted
        total = max(judge.variation().sum(), 1e-30)
        before, after = (
            float(1 - judge.error(w).sum() / total) for w in (old, new)
        )
        if after > before:
            self._assign(new)
        return before, after

    def _old(self):
        """Kernel and intercept up to the target."""
        matrix = self.patches.old
        scale, shift = _affine(self._norm)
        bias = 0.0 if self._is_norm else bias_of(self.unit.layer)
        shape = matrix.shape[0], 1, matrix.shape[2]
        scale, shift = (
            np.broadcast_to(a, math.prod(shape)).reshape(shape)
            for a in (scale, scale * bias + shift)
        )
        return np.concatenate([matrix * scale, shift], axis=1)

    @property
    def _is_norm(self):
        return isinstance(self.unit.layer, layers.BatchNormalization)

    @property
    def _norm(self):
        return self.unit.layer if self._is_norm else self.unit.norm

    def _assign(self, weights):
        layer, norm = self.unit.layer, self._norm
        matrix, intercept = weights[:, :-1], weights[:, -1].reshape(-1)
        if norm is None:
            self.patches.kernel.assign(self.patches.unfolded(matrix))
            layer.bias.assign(intercept)
            return
        if self._is_norm:
            scale, bias, matrix = matrix.reshape(-1), 0.0, self.patches.old
        else:
            scale, bias = _affine(norm)[0], bias_of(layer)
            # A scale of zero is no use: the normalization gets another.
            small = np.abs(scale) < 1e-3 * np.abs(scale).max()
            scale = np.where(small, 1.0, scale)
            matrix = matrix / scale.reshape(len(matrix), 1, -1)
            self.patches.kernel.assign(self.patches.unfolded(matrix))
        zeros = np.zeros((len(matrix), 1, matrix.shape[2]))
        mean, variance = self.fitted.outputs(
            np.concatenate([matrix, zeros], axis=1)
        )
        _set_norm(
            norm, scale, intercept, mean.reshape(-1), variance.reshape(-1), bias
        )


def bias_of(layer):
    """The bias of a layer, 0 where it has none."""
    bias = getattr(layer, "bias", None)
    return 0.0 if bias is None else patches.array(bias)


def _affine(norm):
    """What a normalization does in inference: (scale, shift)."""
    if norm is None:
        return 1.0, 0.0
    scale = patches.array(norm.gamma) / np.sqrt(
        patches.array(norm.moving_variance) + norm.epsilon
    )
    shift = patches.array(norm.beta) - scale * patches.array(norm.moving_mean)
    return scale, shift


def _set_norm(norm, scale, intercept, mean, variance, bias):
    """Makes a normalization of z + bias give scale z + intercept.

    Its statistics become those of its input, so that it does nearly the same
    in training. `mean` and `variance` are those of z.
    """
    norm.moving_mean.assign(mean + bias)
    norm.moving_variance.assign(variance)
    norm.gamma.assign(scale * np.sqrt(variance + norm.epsilon))
    norm.beta.assign(intercept + scale * mean)
