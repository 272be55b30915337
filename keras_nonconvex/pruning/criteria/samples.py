"""Criteria that look at samples: the rise of the loss, its gradient."""

import dataclasses

import keras
import numpy as np
from keras import ops
from rich.console import Console

from keras_nonconvex import checks
from keras_nonconvex import data_loss
from keras_nonconvex import terminal
from keras_nonconvex.pruning.channels.execution import run
from keras_nonconvex.pruning.criteria.base import combined
from keras_nonconvex.pruning.criteria.base import criterion
from keras_nonconvex.pruning.criteria.weights import GroupNorm
from keras_nonconvex.pruning.removal.builder import masked_values


@criterion("taylor")
@dataclasses.dataclass(frozen=True)
class Taylor:
    """First-order change of the loss: (sum of w dL/dw)^2 per channel.

    Of the scale and shift of a normalization where a channel has one, of its
    filter and bias otherwise; the mean over batches of samples (Molchanov et
    al. 2019).

    Args:
        data: (x, y), arrays.
        samples: How many random samples to look at.
        batch_size: Samples per gradient.
        loss: As in `compile`; the model's own or cross-entropy if None.
        seed: Seed of the choice of samples.
    """

    data: tuple
    samples: int = 1024
    batch_size: int = 64
    loss: object = None
    seed: int = 0

    def __post_init__(self):
        _check_samples(self)

    def __call__(self, trace):
        x, y = _drawn(self.data, self.samples, self.seed)
        norms = {
            int(root)
            for use in trace.of_role("scale", "shift")
            for root in trace.root_of[use.ids]
        }
        total = {}
        for part, found in data_loss.per_batch(
            trace.model, x, y, self.batch_size, loss=self.loss
        ):
            for key, (ids, change) in self._changes(trace, found, norms):
                score = total.setdefault(key, [ids, 0.0])
                score[1] = score[1] + part * change**2
        return [(_Scored(ids), scores) for ids, scores in total.values()]

    def _changes(self, trace, found, norms):
        """(layer, (ids, sum of w dL/dw per index)) of each layer."""
        sums = {}
        for use in trace.of_role("scale", "shift", "filter", "bias"):
            if id(use.variable) not in found:
                continue  # Not trained.
            roots = trace.root_of[use.ids]
            makes = use.role in ("filter", "bias")
            skip = np.array([makes and int(r) in norms for r in roots])
            product = use.values * found[id(use.variable)]
            change = np.where(skip, 0.0, use.rows(product).sum(axis=1))
            if skip.all():
                continue
            key = (id(use.layer), len(use.ids))
            ids, so_far = sums.get(key, (use.ids, 0.0))
            sums[key] = (ids, so_far + change)
        return sums.items()


@dataclasses.dataclass(frozen=True)
class _Scored:
    """What `combined` needs of a use."""

    ids: np.ndarray


@criterion("loss_rise")
@dataclasses.dataclass(frozen=True)
class LossRise:
    """How much the loss rises on random training samples without a channel.

    The choice of hierarchical group sparse regularization (Mitsuno, Kurita
    2020). The samples are run with one class of channels gated to zero,
    several such gates in one batch. Channels with the smallest filters are
    looked at; the others are ranked behind them, by their filters.

    Args:
        data: (x, y), arrays.
        samples: Random samples per round.
        mode: "one_shot" scores every class once; "greedy" removes the best
            candidates for good, round by round, and scores the rest again
            with new samples.
        rounds: Of "greedy".
        candidates: The fraction of classes, those of smallest norm, that is
            looked at.
        batch_size: Samples x gates per batch.
        loss: As in `compile`; the model's own or cross-entropy if None.
        seed: Seed of the choice of samples.
        verbose: Whether to show a progress bar.
    """

    data: tuple
    samples: int = 256
    mode: str = "one_shot"
    rounds: int = 10
    candidates: float = 0.6
    batch_size: int = 512
    loss: object = None
    seed: int = 0
    verbose: bool = True

    def __post_init__(self):
        _check_samples(self)
        checks.choice("mode", self.mode, ["one_shot", "greedy"])
        checks.whole("rounds", self.rounds, 1)
        checks.number(
            "candidates",
            self.candidates,
            "a number in (0, 1]",
            lambda v: 0.0 < v <= 1.0,
        )

    def __call__(self, trace):
        norms = combined(trace, GroupNorm()(trace))
        free = np.flatnonzero(trace.free)
        free = free[np.argsort(norms[free], kind="stable")]
        looked = free[: max(1, round(len(free) * self.candidates))]
        console = Console(stderr=True, quiet=not self.verbose)
        rounds = self.rounds if self.mode == "greedy" else 1
        gone, total = [], 0
        with terminal.bar(
            console, "loss rise of channels", len(looked) * (rounds + 1) // 2
        ) as update:
            for i in range(rounds):
                gates = _Gates(trace, self, self.seed + i)
                left = looked[~np.isin(looked, gone)]
                rises = gates.rises(
                    left, gone, lambda n, before=total: update(before + n)
                )
                total += len(left)
                take = -(-len(left) // (rounds - i))
                order = left[np.argsort(rises, kind="stable")][:take]
                gone = [*gone, *order]
                if self.mode == "one_shot":
                    scores = np.full(len(trace), 0.0)
                    behind = rises.max(initial=0.0)
                    scores[free] = behind + 1e-9 + norms[free]
                    scores[left] = rises
                    return scores
        scores = np.zeros(len(trace))
        rest = free[~np.isin(free, gone)]
        scores[[*gone, *rest]] = np.arange(len(free))
        return scores


class _Gates:
    """Runs a model on samples with some classes of channels gated to zero."""

    def __init__(self, trace, settings, seed):
        self.trace = trace
        x, self.y = _drawn(settings.data, settings.samples, seed)
        self.x = keras.tree.flatten(x)
        self.batch_size = settings.batch_size
        self.loss = keras.losses.get(
            data_loss.loss_of(trace.model, settings.loss)
        )
        if len(trace.outputs) != 1:
            raise ValueError(
                "Criterion 'loss_rise' needs a model with one output. "
                f"Received: {len(trace.outputs)} outputs"
            )
        readers = {id(u.layer) for u in trace.of_role("input")}
        makers = {id(u.layer) for u in trace.uses if u.role != "input"}
        # Where a channel is gated: as it is made, and where it is read.
        self.gated = {
            id(t)
            for call in trace.calls
            for t in (
                *(call.inputs if id(call.operation) in readers else ()),
                *(call.outputs if id(call.operation) in makers else ()),
            )
        }
        inner = [trace.root_of[u.ids] for u in trace.of_role("inner")]
        self.inner = set(np.concatenate([[], *inner]).astype(int))

    def rises(self, roots, gone, update):
        """How much the loss rises without each of the classes, on top."""
        base = self._losses([[*gone]])[0]
        found = []
        # Classes inside of layers have no tensor that could be gated.
        for root in roots:
            inside = int(root) in self.inner
            if not found or inside or found[-1][0] or self._full(found[-1][1]):
                found.append((inside, []))
            found[-1][1].append(int(root))
        rises, done = [], 0
        for _, batch in found:
            rises += self._losses([[*gone, root] for root in batch])
            done += len(batch)
            update(done)
        return np.array(rises) - base

    def _full(self, batch):
        return len(batch) >= max(1, self.batch_size // len(self.x[0]))

    def _losses(self, choices):
        """The mean loss with each of several choices of classes gated."""
        closed = np.ones((len(choices), len(self.trace)), "float32")
        for row, roots in zip(closed, choices, strict=True):
            row[np.array(roots, dtype=int)] = 0.0
        zeroed = (closed == 0).all(axis=0)
        zeroed &= np.isin(np.arange(len(self.trace)), list(self.inner))
        values = masked_values(self.trace, zeroed)
        samples = len(self.x[0])
        step = max(1, self.batch_size // len(choices))
        total = np.zeros(len(choices))
        for start in range(0, samples, step):
            part = [a[start : start + step] for a in self.x]
            n = len(part[0])
            tiled = [
                np.tile(a, (len(choices),) + (1,) * (a.ndim - 1)) for a in part
            ]
            gates = np.repeat(closed, n, axis=0)
            (tensor,) = self.trace.outputs
            outputs = run(
                self.trace, tiled, values, [tensor], self._gating(gates)
            )
            y = np.tile(
                self.y[start : start + step],
                (len(choices),) + (1,) * (self.y.ndim - 1),
            )
            losses = _per_sample(self.loss, y, outputs[id(tensor)])
            total += losses.reshape(len(choices), n).sum(axis=1)
        return list(total / samples)

    def _gating(self, gates):
        def after(call, output, place):
            tensor = call.outputs[place]
            if id(tensor) not in self.gated:
                return output
            x = self.trace.tensors[id(tensor)]
            for axis in x.labelled:
                gate = gates[:, self.trace.root_of[x.axes[axis]]]
                if gate.all():
                    continue
                shape = [1] * len(x.shape)
                shape[0], shape[axis] = gate.shape
                output = output * ops.convert_to_tensor(
                    gate.reshape(shape), output.dtype
                )
            return output

        return after


def _per_sample(loss, y, outputs):
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    losses = ops.convert_to_numpy(function(ops.convert_to_tensor(y), outputs))
    return losses.reshape(len(y), -1).mean(axis=1)


def _drawn(data, samples, seed):
    """Random samples of (x, y)."""
    x, y = data
    full = len(keras.tree.flatten(x)[0])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(full)[:samples])
    return keras.tree.map_structure(lambda a: np.asarray(a)[chosen], (x, y))


def _check_samples(settings):
    data = settings.data
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError(
            "Argument `data` must be (x, y), two arrays. "
            f"Received: {type(data).__name__}"
        )
    sizes = {len(a) for a in keras.tree.flatten(data)}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "Argument `data` needs as many labels as samples, at least one. "
            f"Received: {sorted(sizes)}"
        )
    checks.whole("samples", settings.samples, 1)
    checks.whole("batch_size", settings.batch_size, 1)
