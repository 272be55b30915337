"""`repair`: a small model gives again what the dense one gave."""

import numpy as np
from rich.console import Console

from keras_nonconvex import checks
from keras_nonconvex import graph
from keras_nonconvex import samples as data
from keras_nonconvex import terminal
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.refitting import patches
from keras_nonconvex.pruning.refitting import units
from keras_nonconvex.pruning.refitting.fitting import HELD_OUT
from keras_nonconvex.pruning.refitting.fitting import Fit
from keras_nonconvex.pruning.refitting.reporting import Refit
from keras_nonconvex.pruning.refitting.reporting import Report
from keras_nonconvex.pruning.refitting.stream import Stream
from keras_nonconvex.pruning.removal import compiling
from keras_nonconvex.pruning.removal.builder import Builder

# What a pass over either model may remember for the next one, in bytes.
_REMEMBERED = 2**29
# With fewer samples there would be less than two to judge by.
FEWEST = 2 * HELD_OUT
# What the rows of a layer may take, and the targets of several, in bytes.
_ROWS = 2**28
_TARGETS = 2**28


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
    network. Where a ReLU or the like follows, what it cuts off in both models
    does not count. One sample in ten is held out: mu may be 10, 100 or 1000
    times as large if that is better there, and a layer whose refit is not
    better there keeps its weights.

    Memory: beside the samples, each of both models remembers up to 512 MiB of
    its tensors from one layer to the next. The rows of a layer take up to
    256 MiB, by looking at fewer positions if need be (one at least), and as
    much do the targets of the layers at work. A layer of f features per group
    needs 3 f^2 float64 numbers, at most as many as it has rows instead of f.
    MobileNetV2 at 224x224 took 2.5 GiB in all with 400 samples.

    Args:
        small: A model from `plan.apply(dense)`, trained further or not; it
            stays as it is.
        plan: The `PruningPlan` that it was made by.
        dense: The model that the plan was made for.
        x: Input samples like those of training: an array of shape (samples,
            ...), a structure of arrays, a `tf.data.Dataset`, `PyDataset` or
            generator, or the name or folder of a data set. Labels are not
            needed.
        samples: How many of them are looked at, an int >= 20. Defaults to
            `2000`.
        positions: How many random positions of each sample every layer is
            fitted at, an int >= 1. Defaults to `16`.
        ridge: A number > 0: the least mu, see above. Defaults to `1e-4`.
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
    checks.whole("samples", samples, FEWEST)
    checks.whole("positions", positions, 1)
    checks.whole("batch_size", batch_size, 1)
    checks.number("ridge", ridge, "a number > 0", lambda v: v > 0)
    trace = Trace(dense, plan.select)
    keep = plan.kept(trace)
    repaired = _with_biases(small, trace, keep)
    x, _ = data.read(trace.model, x, most=samples, seed=seed)
    arrays = data.leaves(trace.model, x)
    if len(arrays[0]) < FEWEST:
        raise ValueError(
            f"Argument `x` must have at least {FEWEST} samples, of which one "
            f"in ten is held out. Received: {len(arrays[0])} samples"
        )
    if trace.model.inputs[0].shape[0]:
        # The model insists on its batches.
        batch_size = trace.model.inputs[0].shape[0]
        full = len(arrays[0]) // batch_size * batch_size
        arrays = [array[:full] for array in arrays]
    flat = graph.flattened(repaired)
    mine = units.Calls(flat.calls, flat.outputs)
    theirs = units.Calls(trace.calls, trace.outputs)
    found, skipped = units.find(mine, theirs)
    rng = np.random.default_rng(seed)
    chance = rng.random((len(arrays[0]), positions), "float32")
    streams = [
        Stream(
            calls.calls,
            dict(zip(map(id, inputs), arrays, strict=True)),
            chance,
            batch_size,
            _REMEMBERED,
        )
        for calls, inputs in (
            (mine, graph.functional(repaired).inputs),
            (theirs, trace.model.inputs),
        )
    ]

    def stays(tensor, axes):
        kept = np.ones([tensor.shape[axis] for axis in axes], bool)
        for place, axis in enumerate(axes):
            ids = trace.tensors[id(tensor)].axes[axis]
            if ids is not None:
                gone = ~trace.stays(keep, ids)
                np.moveaxis(kept, place, 0)[gone] = False
        return kept.ravel()

    fits = [
        Fit(unit, stays, len(arrays[0]), positions, _ROWS) for unit in found
    ]
    report = Report()
    console = Console(stderr=True, quiet=not verbose)
    with terminal.bar(console, "repairing", len(fits)) as update:
        for fit in _with_inputs(fits, *streams):
            before, after, kept = fit.finish(ridge)
            report.append(Refit(fit.unit.name, before, after, kept))
            update(len(report))
    report += [Refit(name, kept=why) for name, why in skipped.items()]
    return repaired, report


def _with_inputs(fits, small, dense):
    """Yields each fit once it has all that it needs.

    The dense model is run for several layers at once, as many as the memory
    takes the targets of; the small one for each anew, since its weights
    change.

    Args:
        fits: A list of `Fit`, in order.
        small: The `Stream` of the small model.
        dense: That of the dense one.
    """
    left = list(fits)
    while left:
        sizes = np.cumsum([fit.size for fit in left])
        count = max(1, int((sizes <= _TARGETS).sum()))
        now, left = left[:count], left[count:]
        probes = [fit.targets() for fit in now]
        for part, values in dense.batches(
            [probe for each in probes for probe in each],
            [aim.theirs for fit in left for aim in fit.unit.aims],
        ):
            values = iter(values)
            for fit, each in zip(now, probes, strict=True):
                fit.add_targets(part, [next(values) for _ in each])
        while now:
            fit = now.pop(0)
            for part, values in small.batches(
                fit.inputs(),
                [
                    t
                    for later in (*now, *left)
                    for aim in later.unit.aims
                    for t in aim.mine
                ],
                changing=[aim.call for aim in fit.unit.aims],
            ):
                fit.add_inputs(part, values)
            yield fit


def _with_biases(small, trace, keep):
    """A copy in which each layer that needs an intercept has a bias."""
    mine = Trace(small)
    _check_small(mine, trace, keep)
    calls = units.Calls(mine.calls, mine.outputs)
    biases = {}
    for unit in units.find(calls, calls)[0]:
        layer = unit.layer
        has = getattr(layer, "bias", None) is not None
        if unit.norm is None and not has and hasattr(layer, "kernel"):
            kernel = patches.find(layer).old
            biases[id(layer)] = np.zeros(kernel.shape[0] * kernel.shape[2])
    copy = Builder(mine, new_biases=biases).build()
    compiling.compile_like(copy, small)
    return copy


def _check_small(small, dense, keep):
    """Refuses a small model that the plan has not made of the dense one."""
    for name, arrays in small.made.items():
        made = dense.made.get(name)
        if made is None:
            continue
        left = sum(int(dense.stays(keep, ids).sum()) for ids in made)
        if left != sum(map(len, arrays)):
            raise ValueError(
                "Argument `small` must be what `plan` leaves of `dense`: "
                f"layer '{name}' keeps {left} channels. Received: "
                f"small={small.model.name!r} with {sum(map(len, arrays))}"
            )
