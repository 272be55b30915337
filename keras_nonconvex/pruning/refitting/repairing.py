"""`repair`: a small model gives again what the dense one gave."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_nonconvex import graph
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting import units
from keras_nonconvex.pruning.refitting.least_squares import Moments
from keras_nonconvex.pruning.refitting.stream import Stream
from keras_nonconvex.pruning.removal import compiling
from keras_nonconvex.pruning.removal.builder import Builder

MEMORY = 2**30
HELD_OUT = 5


@dataclasses.dataclass
class Refit:
    """What `repair` did with one layer.

    Attributes:
        name: The layer's name.
        before: The share of the dense model's variance that the layer
            explained on samples held out, at most 1.
        after: The same with the refitted kernel.
        kept: Why the layer keeps its kernel; "" if it was refitted.
    """

    name: str
    before: float | None = None
    after: float | None = None
    kept: str = ""


def repair(
    small,
    plan,
    dense,
    x,
    samples=2000,
    positions=16,
    ridge=1e-4,
    batch_size=100,
    seed=0,
    verbose=True,
):
    generator = np.random.default_rng(seed)
    arrays = [np.asarray(a)[:samples] for a in keras.tree.flatten(x)]
    trace = Trace(dense, plan.select)
    keep = plan._kept(trace)
    small = _with_biases(small)
    flat = graph.flattened(small)
    mine = units.Calls(flat.calls, flat.outputs)
    theirs = units.Calls(trace.calls, trace.outputs)
    found, skipped = units.find(mine, theirs)
    streams = [
        Stream(calls.calls, calls.inputs, arrays, batch_size, MEMORY // 2)
        for calls in (mine, theirs)
    ]
    axes = _kept_axes(trace, keep)
    report = []
    for i, unit in enumerate(found):
        later = found[i + 1 :]
        fit = _Fit(unit, axes, positions, generator)
        wanted = streams[0].batches(
            [unit.input, *unit.others],
            [t for u in later for t in (u.input, *u.others)],
        )
        targets = streams[1].batches(
            [unit.target],
            [u.target for u in later],
            [] if unit.linear is None else [unit.linear],
        )
        for k, (given, (target,)) in enumerate(zip(wanted, targets)):
            fit.add(k, given[0], given[1:], target)
        report.append(fit.finish(ridge))
        if verbose:
            print(report[-1], flush=True)
    return small, report


def _with_biases(small):
    trace = Trace(small)
    calls = units.Calls(trace.calls, trace.outputs)
    found, _ = units.find(calls, calls)
    new = {
        id(u.call.operation): np.zeros(
            u.call.outputs[0].shape[
                patches.find(u.call.operation).axis(
                    len(u.call.outputs[0].shape)
                )
            ]
        )
        for u in found
        if u.norm is None
        and not isinstance(u.call.operation, keras.layers.BatchNormalization)
        and not u.call.operation.use_bias
    }
    built = Builder(trace, new_biases=new).build()
    compiling.compile_like(built, small)
    return built


def _kept_axes(trace, keep):
    """A function: which channels of a dense tensor stay."""

    def stays(tensor, axis):
        ids = trace.tensors[id(tensor)].axes[axis]
        return None if ids is None else trace.stays(keep, ids)

    return stays


class _Fit:
    def __init__(self, unit, stays, positions, generator):
        self.unit = unit
        self.layer = unit.call.operation
        self.patches = patches.find(self.layer)
        self.positions = positions
        self.generator = generator
        rank = len(unit.target.shape)
        self.axis = self.patches.axis(rank)
        self.in_axis = self.patches.axis(len(unit.input.shape))
        self.stays = stays(unit.target, self.axis)
        self.moments = Moments(), Moments()

    def add(self, k, x, others, target):
        x = patches.last(x, self.in_axis)
        target = patches.last(target, self.axis)
        if self.stays is not None:
            target = target[..., self.stays]
        picked = self._picked(target)
        y = patches._at(target, picked)
        for other in others:
            y = y - patches._at(patches.last(other, self.axis), picked)
        rows = self.patches.rows(x, picked)
        groups = len(rows)
        y = y.reshape(-1, groups, y.shape[-1] // groups)
        held = k % HELD_OUT == HELD_OUT - 1
        self.moments[held].add(rows, np.moveaxis(y, 1, 0))

    def _picked(self, target):
        sizes = target.shape[1:-1]
        total = int(np.prod(sizes, dtype=int))
        count = min(self.positions, total)
        flat = self.generator.random((len(target), total)).argsort(axis=1)
        flat = flat[:, :count]
        if not sizes:
            return np.zeros((len(target), 1, 0), int)
        return np.stack(np.unravel_index(flat, sizes), axis=-1)

    def finish(self, ridge):
        fitted, held = self.moments
        old = self._old()
        new = fitted.ridge(old, ridge)
        total = held.variation().sum()
        before, after = (
            1 - held.error(w).sum() / total for w in (old, new)
        )
        if not after > before:
            return Refit(self.unit.name, before, before, "no better held out")
        self._assign(new, fitted)
        return Refit(self.unit.name, float(before), float(after))

    def _affine(self):
        """What the normalization makes of the layer's output: (s, t)."""
        norm = self.unit.norm or (
            self.layer
            if isinstance(self.layer, keras.layers.BatchNormalization)
            else None
        )
        if norm is None:
            return 1.0, 0.0
        mean, variance = map(
            _array, (norm.moving_mean, norm.moving_variance)
        )
        s = 1 / np.sqrt(variance + norm.epsilon)
        if norm.scale:
            s = s * _array(norm.gamma)
        return s, -s * mean + (_array(norm.beta) if norm.center else 0.0)

    def _old(self):
        """Kernel and intercept as they are, up to the target."""
        s, t = self._affine()
        matrix = self.patches.matrix
        groups, _, outputs = matrix.shape
        bias = self._bias()
        s, t, bias = (
            np.broadcast_to(a, groups * outputs).reshape(groups, 1, outputs)
            for a in (s, t, bias)
        )
        return np.concatenate([matrix * s, s * bias + t], axis=1)

    def _bias(self):
        bias = getattr(self.layer, "bias", None)
        return 0.0 if bias is None else _array(bias)

    def _assign(self, weights, moments):
        layer, norm = self.layer, self.unit.norm
        matrix, intercept = weights[:, :-1], weights[:, -1].reshape(-1)
        if isinstance(layer, keras.layers.BatchNormalization):
            mean, variance = moments.of_outputs(
                np.concatenate(
                    [self.patches.matrix, np.zeros_like(intercept)[:, None, None]],
                    axis=1,
                )
            )
            _set_norm(layer, matrix.reshape(-1), intercept, mean, variance)
            return
        if norm is None:
            layer.kernel.assign(self.patches.kernel(matrix))
            layer.bias.assign(intercept)
            return
        s, _ = self._affine()
        s = np.where(np.abs(s) > 1e-3 * np.abs(s).max(), s, 1.0)
        groups, _, outputs = matrix.shape
        matrix = matrix / s.reshape(groups, 1, outputs)
        layer.kernel.assign(self.patches.kernel(matrix))
        mean, variance = moments.of_outputs(
            np.concatenate([matrix, np.zeros((groups, 1, outputs))], axis=1)
        )
        _set_norm(norm, s, intercept, mean, variance, self._bias())


def _set_norm(norm, s, intercept, mean, variance, bias=0.0):
    """Makes a normalization s z + intercept, for z = output - bias.

    Its moving statistics become those of its input.
    """
    mean, variance = mean.reshape(-1), variance.reshape(-1)
    norm.moving_mean.assign(mean + bias)
    norm.moving_variance.assign(variance)
    if norm.scale:
        norm.gamma.assign(s * np.sqrt(variance + norm.epsilon))
    if norm.center:
        norm.beta.assign(intercept + s * mean)


def _array(variable):
    return ops.convert_to_numpy(variable).astype("float64")
