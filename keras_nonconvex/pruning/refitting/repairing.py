"""`repair`: a small model gives again what the dense one gave."""

import dataclasses

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_nonconvex import checks
from keras_nonconvex import graph
from keras_nonconvex import samples as data
from keras_nonconvex import terminal
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting import units
from keras_nonconvex.pruning.refitting.fitting import Fit
from keras_nonconvex.pruning.refitting.stream import Stream
from keras_nonconvex.pruning.removal import compiling
from keras_nonconvex.pruning.removal.builder import Builder

# What a pass over either model may remember for the next one, in bytes.
MEMORY = 2**29


@dataclasses.dataclass
class Refit:
    """What `repair` did with one layer.

    Attributes:
        name: The layer's name; "model/layer" for a layer of a nested model.
        before: Which share of the variance of its target the layer explained
            on samples held out: 1 is all, and it may be negative. None where
            the layer was not looked at.
        after: The same once it is refitted.
        kept: Why the layer keeps its weights; "" if it was refitted.
    """

    name: str
    before: float | None = None
    after: float | None = None
    kept: str = ""


class Report(list):
    """A list of `Refit`, one per layer with weights; prints as a table."""

    def table(self):
        """The report as a `rich.table.Table`."""
        table = Table(title="explained variance", title_justify="left")
        table.add_column("layer")
        table.add_column("before", justify="right")
        table.add_column("after", justify="right")
        table.add_column("keeps its weights")
        for entry in self:
            shares = (entry.before, entry.after)
            table.add_row(
                entry.name,
                *("" if s is None else f"{s:.1%}" for s in shares),
                entry.kept,
            )
        return table

    def __str__(self):
        return terminal.render(self.table(), width=80)


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
    """Refits what a pruning left so that it gives what the dense model gave.

    No labels and no training. The small model is walked through in order. The
    kernel W and intercept b of each convolution and dense layer are refitted
    by ridge regression on the inputs X that the layer gets in the small model
    as repaired so far:

        min ||X W + b - Y||^2 + mu ||W - W0||^2

    W0 is the kernel as it was cut, mu is `ridge` times the mean squared norm
    of X's columns, and Y is what the dense model gives at the channels that
    stay, before the activation. Where a batch normalization alone reads the
    layer, Y is what follows it, and it takes intercept and scale; its moving
    statistics become those of its new input, so training mode agrees with
    inference. For the last layer before a sum Y is the dense sum minus what
    else the small model adds, so that errors do not pile up along a residual
    network. Every fifth batch is held out: a layer whose refit is not better
    there keeps its weights.

    Memory: each of both models remembers up to 512 MiB of its tensors, and a
    layer of f features per group needs 2 (f + 1)^2 float64 numbers, or all
    its rows where these are fewer than f.

    Args:
        small: A model from `plan.apply(dense)`, trained further or not; it
            stays as it is.
        plan: The `PruningPlan` that it was made by.
        dense: The model that the plan was made for.
        x: Input samples like those of training: an array of shape (samples,
            ...), a structure of arrays, a `tf.data.Dataset`, `PyDataset` or
            generator, or the name or folder of a data set. Labels are not
            needed.
        samples: How many of them are looked at, an int >= 1. Defaults to
            `2000`.
        positions: How many random positions of each sample every layer is
            fitted at, an int >= 1. Defaults to `16`.
        ridge: A number > 0, see above. Defaults to `1e-4`.
        batch_size: How many samples are computed at once, an int >= 1.
            Defaults to `100`.
        seed: An int, for the choice of positions. Defaults to `0`.
        verbose: Whether to show a progress bar. Defaults to `True`.

    Returns:
        (the repaired model, compiled as `small` is; a `Report` with one entry
        per layer). A layer that needs a bias for its intercept and has none
        gets one; no other layers are added.

    Example:
    >>> plan = knc.pruning.plan(dense, budget={"macs": 0.5})
    >>> small, report = knc.repair(plan.apply(dense), plan, dense, x_train)
    >>> print(report)
    """
    for name, value in (
        ("samples", samples),
        ("positions", positions),
        ("batch_size", batch_size),
    ):
        checks.whole(name, value, 1)
    checks.number("ridge", ridge, "a number > 0", lambda v: v > 0)
    trace = Trace(dense, plan.select)
    x, _ = data.read(trace.model, x, most=samples, seed=seed)
    arrays = data.leaves(trace.model, x)
    keep = plan.kept(trace)
    repaired = _with_biases(small)
    flat = graph.flattened(repaired)
    mine = units.Calls(flat.calls, flat.outputs)
    theirs = units.Calls(trace.calls, trace.outputs)
    found, skipped = units.find(mine, theirs)
    streams = [
        Stream(
            calls.calls,
            dict(zip(map(id, calls.inputs), arrays, strict=True)),
            batch_size,
            MEMORY,
        )
        for calls in (mine, theirs)
    ]

    def stays(tensor, axis):
        ids = trace.tensors[id(tensor)].axes[axis]
        return trace.stays(keep, ids)

    report = Report()
    console = Console(stderr=True, quiet=not verbose)
    with terminal.bar(console, "repairing", len(found)) as update:
        for i, unit in enumerate(found):
            rows = len(arrays[0]) * positions
            fit = Fit(
                unit, stays, positions, rows, np.random.default_rng([seed, i])
            )
            _stream(fit, unit, found[i + 1 :], *streams)
            before, after = fit.finish(ridge)
            kept = "" if after > before else "no better on samples held out"
            report.append(Refit(unit.name, before, after, kept))
            update(i + 1)
    report += [Refit(name, kept=why) for name, why in skipped.items()]
    return repaired, report


def _stream(fit, unit, later, small, dense):
    """Gives a fit all batches of a unit."""
    mine = small.batches(
        [t for aim in unit.aims for t in aim.mine],
        [t for u in later for aim in u.aims for t in aim.mine],
        changing=[aim.call for aim in unit.aims],
    )
    theirs = dense.batches(
        [aim.theirs for aim in unit.aims],
        [aim.theirs for u in later for aim in u.aims],
    )
    for batch, (given, wanted) in enumerate(zip(mine, theirs, strict=True)):
        given = iter(given)
        for aim, target in zip(unit.aims, wanted, strict=True):
            x, *others = (next(given) for _ in aim.mine)
            fit.add(batch, aim, x, others, target)


def _with_biases(small):
    """A copy in which each layer that needs an intercept has a bias."""
    trace = Trace(small)
    calls = units.Calls(trace.calls, trace.outputs)
    biases = {}
    for unit in units.find(calls, calls)[0]:
        layer = unit.layer
        if unit.norm is None and not getattr(layer, "use_bias", True):
            shape = unit.aims[0].call.outputs[0].shape
            axis = patches.find(layer).axis(len(shape))
            biases[id(layer)] = np.zeros(shape[axis])
    copy = Builder(trace, new_biases=biases).build()
    compiling.compile_like(copy, small)
    return copy
