"""The regression of one unit: rows in, weights out."""

import math

import numpy as np
from keras import layers
from keras import ops

from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting.least_squares import Rows
from keras_nonconvex.pruning.refitting.least_squares import times
from keras_nonconvex.pruning.refitting.stream import Probe

# One of so many samples is held out.
HELD_OUT = 10
# The share of the variance from which on there is nothing to do.
_ENOUGH = 1 - 1e-6


class Fit:
    """Refits one unit to the dense model, and says how well.

    Attributes:
        size: How many bytes its targets take.

    Args:
        unit: A `Unit`.
        stays: Function (symbolic tensor of the dense model, axes) -> one bool
            per channel.
        samples: How many samples there are.
        positions: At how many positions of a sample it is fitted, at most.
        memory: How many bytes its rows may take: there are fewer positions
            where they would take more.
    """

    def __init__(self, unit, stays, samples, positions, memory):
        self.unit = unit
        self.patches = patches.find(unit.layer)
        self.stays = stays
        groups, features, outputs = self.patches.old.shape
        each = 4 * samples * len(unit.aims) * groups
        most = memory // (each * max(features, outputs))
        self.positions = max(1, min(positions, most))
        self.size = each * outputs * self.positions
        # Samples held out have the last places.
        held_out = np.arange(samples) % HELD_OUT == HELD_OUT - 1
        self._place = np.empty(samples, int)
        self._place[np.argsort(held_out, kind="stable")] = np.arange(samples)
        self._fitted = samples - int(held_out.sum())
        self._targets, self._rows, self._others = {}, {}, {}

    def targets(self):
        """What it needs of the dense model: one `Probe` per call."""
        return [
            Probe([aim.theirs], self._target(aim)) for aim in self.unit.aims
        ]

    def inputs(self):
        """What it needs of the small model: one `Probe` per call."""
        return [Probe(aim.mine, self._read) for aim in self.unit.aims]

    def add_targets(self, part, found):
        """Takes in what the dense model gave for a batch.

        Args:
            part: The samples, a slice.
            found: The results of the probes.
        """
        for i, (y,) in enumerate(found):
            self._store(self._targets, i, part, y)

    def add_inputs(self, part, found):
        """Takes in what the small model gave for a batch.

        Args:
            part: The samples, a slice.
            found: The results of the probes.
        """
        for i, (rows, *others) in enumerate(found):
            self._store(self._rows, i, part, rows)
            for z in others:
                self._store(self._others, i, part, z)

    def _store(self, arrays, i, part, values):
        """Samples are the axis before the last two."""
        *groups, _, count, depth = values.shape
        if i not in arrays:
            shape = (*groups, len(self._place), count, depth)
            arrays[i] = np.empty(shape, "float32")
        arrays[i][..., self._place[part], :, :] = values

    def _read(self, values, chance):
        """The rows of a batch, and the sum of what is added to them."""
        x, *others = values
        shape = self.unit.layer.compute_output_shape(x.shape)
        picked = self._picked(self.patches.sizes(shape), chance)
        rows = self.patches.rows(self.patches.given(x), picked)
        found = [ops.cast(rows, "float32")]
        if others:
            at = [patches.at(self.patches.made(z), picked) for z in others]
            found.append(sum(ops.cast(z, "float32") for z in at))
        return found

    def _target(self, aim):
        """A function that finds the targets of a batch, in a list.

        Their shape is (samples, count, channels).
        """
        result = aim.target if aim.target is not None else aim.twin.outputs[0]
        stays = self.stays(result, self.patches.axes(len(result.shape)))
        before = self._before_activation(aim.twin.operation)

        def found(values, chance):
            (theirs,) = values
            if aim.target is None:
                y = before(theirs, chance)
            else:
                y = self.patches.made(theirs)
                y = patches.at(y, self._picked(y.shape[1:-1], chance))
            y = ops.take(y, np.flatnonzero(stays), axis=-1)
            return [ops.cast(y, "float32")]

        return found

    def _before_activation(self, layer):
        """A function that finds what a dense layer gives, likewise."""
        dense = patches.find(layer)
        kernel, bias = dense.old[:, None].astype("float32"), dense.bias

        def found(x, chance):
            shape = layer.compute_output_shape(x.shape)
            picked = self._picked(dense.sizes(shape), chance)
            rows = ops.cast(dense.rows(dense.given(x), picked), "float32")
            y = ops.moveaxis(ops.matmul(rows, kernel), 0, 2)
            y = ops.reshape(y, (*y.shape[:2], -1))
            return y + bias.astype("float32")

        return found

    def _picked(self, sizes, chance):
        """Positions, one in each of equally many parts: (samples, count, axes).

        Args:
            sizes: The axes of positions.
            chance: Random numbers in [0, 1), (samples, at least positions).
        """
        total = math.prod(sizes)
        count = min(self.positions, total)
        index = np.arange(count, dtype="float32")
        if count < total:
            index = (index + chance[:, :count]) * (total / count)
        else:
            index = index + 0 * chance[:, :1]
        index = ops.clip(ops.cast(ops.floor(index), "int32"), 0, total - 1)
        axes = []
        for size in reversed(sizes):
            axes.insert(0, index % size)
            index = index // size
        if not axes:
            return ops.zeros((*index.shape, 0), "int32")
        return ops.stack(axes, axis=-1)

    def finish(self, ridge):
        """Sets the layer's weights, if that is better on what was held out.

        Args:
            ridge: A number > 0, as in `repair`.

        Returns:
            (share of the variance explained before, after, why the layer
            keeps its weights or ""). Its rows are given up.
        """
        try:
            return self._finish(ridge)
        finally:
            self._targets, self._rows, self._others = {}, {}, {}

    def _finish(self, ridge):
        old = self._old()
        held_out = self._problem(slice(self._fitted, None))
        variation = max(held_out.variation(), 1e-30)
        before = after = 1 - held_out.error(old) / variation
        fitted = self._problem(slice(self._fitted))
        if before >= _ENOUGH:
            new, kept = old, "it gives what it is to give"
        else:
            new, kept = fitted.fitted(old, ridge, held_out), ""
            after = 1 - held_out.error(new) / variation
        if not kept and not after > before:
            new, after, kept = old, before, "no better on samples held out"
        # A normalization gets the statistics of its new input in any case.
        if not kept or self._norm is not None:
            self._assign(new, fitted.x)
        return before, after, kept

    def _problem(self, samples):
        """The `Rows` of some samples.

        Args:
            samples: A slice of the places of samples.
        """

        def joined(arrays, shape):
            parts = [a[..., samples, :, :].reshape(shape) for a in arrays]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, -2)

        groups, _, outputs = self.patches.old.shape
        x = joined(self._rows.values(), (groups, -1, self._rows[0].shape[-1]))
        y, *others = (
            np.moveaxis(
                joined(arrays.values(), (-1, groups * outputs)).reshape(
                    -1, groups, outputs
                ),
                1,
                0,
            )
            for arrays in (self._targets, self._others)
            if arrays
        )
        return Rows(x, y, *others, low=self.unit.low, high=self.unit.high)

    def _old(self):
        """Kernel and intercept up to the target."""
        matrix = self.patches.old
        scale, shift = _affine(self._norm)
        bias = 0.0 if self._is_norm else self.patches.bias
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

    def _assign(self, weights, x):
        norm = self._norm
        matrix, intercept = weights[:, :-1], weights[:, -1].reshape(-1)
        if norm is None:
            self.patches.kernel.assign(self.patches.unfolded(matrix))
            self.patches.set_bias(intercept)
            return
        if self._is_norm:
            scale, bias, matrix = matrix.reshape(-1), 0.0, self.patches.old
        else:
            scale, bias = _affine(norm)[0], self.patches.bias
            # A scale of zero is no use: the normalization gets another.
            small = np.abs(scale) < 1e-3 * np.abs(scale).max()
            scale = np.where(small, 1.0, scale)
            matrix = matrix / scale.reshape(len(matrix), 1, -1)
            self.patches.kernel.assign(self.patches.unfolded(matrix))
        zeros = np.zeros((len(matrix), 1, matrix.shape[2]))
        z = times(x, np.concatenate([matrix, zeros], axis=1))
        mean, variance = (
            getattr(z, name)(axis=1, dtype="float64").reshape(-1)
            for name in ("mean", "var")
        )
        _set_norm(norm, scale, intercept, mean, variance, bias)


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
