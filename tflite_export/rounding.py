"""Which `round_to` makes a pruned model fastest? Measured, not guessed."""

import dataclasses

from keras_nonconvex import checks
from keras_nonconvex import files
from keras_nonconvex import pruning
from tflite_export.conversion import convert
from tflite_export.timing import benchmark


@dataclasses.dataclass(frozen=True)
class Rounding:
    """The times of a model pruned with several `round_to`.

    Attributes:
        best: int. The `round_to` to use.
        median_ms: dict. {round_to: median milliseconds of one inference}.
        macs: dict. {round_to: multiply-adds of the pruned model}.
    """

    best: int
    median_ms: dict
    macs: dict

    def __str__(self):
        rows = [
            f"round_to={r}: {ms:.4f} ms, {self.macs[r]:,} MACs"
            + (" <- best" if r == self.best else "")
            for r, ms in self.median_ms.items()
        ]
        return "\n".join(rows)


def tune_round_to(
    model,
    budget,
    criterion="group_norm",
    candidates=(1, 2, 4, 8, 16),
    precision="float32",
    representative_data=None,
    runs=300,
    threads=1,
    **options,
):
    """Times the model that each `round_to` leaves, in interleaved runs.

    Kernels of a runtime work on several channels at once, so that one channel
    more may cost nothing, and a model of fewer channels may even be slower.
    All candidates keep the same budget. Measure on the machine that counts,
    or one like it.

    Args:
        model: The Keras model to prune.
        budget: dict. What may remain, such as `{"macs": 0.5}`; see
            `knc.prune`.
        criterion: What is removed first: a name or a criterion, see
            `knc.prune`. Defaults to `"group_norm"`.
        candidates: Whole numbers >= 1, the `round_to` to try. Defaults to
            `(1, 2, 4, 8, 16)`.
        precision: str. The precision of the timed files, see `convert`.
            Defaults to `"float32"`.
        representative_data: Samples that set the ranges of activations, see
            `convert`; `"int8"` needs them. Defaults to `None`.
        runs: int >= 1. The number of timed rounds, see `benchmark`. Defaults
            to `300`.
        threads: int >= 1. How many threads the runtime uses. Defaults to `1`.
        **options: Further arguments of `knc.pruning.plan`, such as `data`,
            `exclude`, `min_channels` or `on_constant`.

    Returns:
        A `Rounding`. Of the candidates within 3 % of the fastest, the
        smallest is best, since it follows the criterion most closely.

    Example:
    >>> rounding = tflite_export.tune_round_to(model, {"macs": 0.5})
    >>> small = knc.prune(model, "group_norm", {"macs": 0.5}, rounding.best)
    """
    candidates = sorted(
        {checks.whole("candidates", one, 1) for one in candidates}
    )
    paths, macs = {}, {}
    with files.scratch() as folder:
        for round_to in candidates:
            plan = pruning.plan(model, criterion, budget, round_to, **options)
            if plan.met:
                path = folder / f"{round_to}.tflite"
                convert(plan.apply(model), path, precision, representative_data)
                paths[round_to], macs[round_to] = path, plan.after["macs"]
        if not paths:
            raise ValueError(
                "No `round_to` of `candidates` meets the budget. "
                f"Received: budget={budget}, candidates={candidates}"
            )
        first, *others = paths.values()
        timings = benchmark(first, others, runs=runs, threads=threads)
    times = {r: t.median_ms for r, t in zip(paths, timings, strict=True)}
    fastest = min(times.values())
    best = min(r for r, ms in times.items() if ms <= 1.03 * fastest)
    return Rounding(best, times, macs)
