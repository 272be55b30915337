"""`LossRise`: how much the loss rises without a channel."""

import dataclasses

import numpy as np
from rich.console import Console

from keras_nonconvex import checks
from keras_nonconvex import terminal
from keras_nonconvex.pruning.criteria import drawing
from keras_nonconvex.pruning.criteria.base import combined
from keras_nonconvex.pruning.criteria.base import criterion
from keras_nonconvex.pruning.criteria.gates import Gates
from keras_nonconvex.pruning.criteria.weights import GroupNorm

__all__ = ["LossRise"]


@criterion("loss_rise")
@dataclasses.dataclass(frozen=True)
class LossRise:
    """How much the loss rises on random training samples without a channel.

    The model is run with one class of tied channels set to zero, for each
    class. Only channels with small filters are looked at; the others are
    ranked behind them, by the norms of their filters.

    Args:
        data: `(x, y)`, arrays, where `x` may be a list or dict of them; or a
            `tf.data.Dataset`, `PyDataset` or generator of such; or the name
            or folder of a data set.
        samples: How many random samples to look at per round, an int >= 1.
            Defaults to `256`.
        mode: `"one_shot"` scores every class once. `"greedy"` drops the
            classes of the lowest scores for good, round by round, and scores
            the rest again with new samples. Defaults to `"one_shot"`.
        rounds: How many rounds `"greedy"` takes, an int >= 1. Defaults to
            `10`.
        candidates: The fraction of classes that is looked at, those with the
            smallest norms, in (0, 1]. Defaults to `0.6`.
        batch_size: How many samples are run at once, an int >= 1; several
            classes share a batch. Defaults to `512`.
        loss: A loss as in `compile`. Defaults to `None`: the model's own,
            else the crossentropy that suits its output.
        seed: The seed of the choice of samples, an int. Defaults to `0`.
        verbose: Whether to show a progress bar. Defaults to `True`.

    Example:
    >>> rise = knc.pruning.criteria.LossRise((x, y), mode="greedy")
    >>> small = knc.prune(model, rise, {"macs": 0.5})

    Reference:
    - Mitsuno & Kurita, "Filter Pruning using Hierarchical Group Sparse
      Regularization for Deep Convolutional Neural Networks", 2020.
    """

    data: object
    samples: int = 256
    mode: str = "one_shot"
    rounds: int = 10
    candidates: float = 0.6
    batch_size: int = 512
    loss: object = None
    seed: int = 0
    verbose: bool = True

    def __post_init__(self):
        drawing.check(self)
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
        data = self.data
        if not isinstance(data, (tuple, list)):
            # A dataset is read once, for all rounds.
            data = drawing.drawn(trace, data, rounds * self.samples, self.seed)
        gone, total = [], 0
        with terminal.bar(
            console, "loss rise of channels", len(looked) * (rounds + 1) // 2
        ) as update:
            for i in range(rounds):
                x, y = drawing.drawn(trace, data, self.samples, self.seed + i)
                gates = Gates(trace, x, y, self.batch_size, self.loss)
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
