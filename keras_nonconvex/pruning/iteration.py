"""`iterative`: prune a little, fine-tune, and so on."""

import functools

from rich.console import Console

from keras_nonconvex import checks
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning.planning import planned
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.pruning.refitting import repairing


def iterative(
    model,
    data,
    steps=4,
    budget=None,
    criterion=None,
    round_to=None,
    epochs=1,
    fit_options=None,
    repair=False,
    verbose=True,
    **options,
):
    """Reaches a budget in several steps, with fine-tuning after each.

    What remains goes down linearly from all to the budget. Every step makes a
    new plan, so the criterion sees the fine-tuned weights; the optimizer's
    state for the weights that stay is carried over.

    Args:
        model: A compiled and built functional or Sequential model; it stays
            as it is.
        data: `(x, y)`, arrays, or a dataset of batches as `fit` takes it.
        steps: How often to prune, an int >= 1. Defaults to `4`.
        budget: A dict as in `plan`, such as `{"macs": 0.3}`: fractions of the
            model given, in (0, 1], or percentages. Defaults to `None`, which
            is refused without `max_rise`.
        criterion: As in `plan`. Criteria that look at samples get `data`,
            which then has to be `(x, y)`. Defaults to `None`:
            "output_change", or "group_norm" where `data` is a dataset.
        round_to: As in `plan`. Defaults to 8.
        epochs: How many epochs of fine-tuning follow each step, an int >= 0.
            Defaults to `1`.
        fit_options: A dict of further arguments of `fit`, such as
            `{"batch_size": 128}`. Defaults to `None`.
        repair: Whether what each step leaves is refitted to the model given,
            as `knc.repair` does it, before it is trained. Defaults to
            `False`.
        verbose: Whether to print one line per step and `fit`'s progress.
            Defaults to `True`.
        **options: Further arguments of `plan`: `combine`, `per`, `ranking`,
            `min_channels`, `max_ratio`, `exclude`, `on_constant`, `select`,
            `max_rise`. The latter holds for each step: it compares what the
            step leaves with the model that it starts from.

    Returns:
        `(small, plans)`: the small model and a list with the `PruningPlan`
        of each step; `first.then(second)` makes one plan of two.

    Example:
    >>> small, plans = knc.pruning.iterative(
    ...     model, (x, y), steps=4, budget={"macs": 0.3}
    ... )
    """
    checks.whole("steps", steps, 1)
    checks.whole("epochs", epochs, 0)
    if budget is not None or options.get("max_rise") is None:
        budgets.check(budget)
    budget = budget or {}
    for key, value in budget.items():
        if isinstance(value, dict) or budgets.fraction(value) > 1:
            raise ValueError(
                "Argument `budget` of `iterative` takes fractions of the "
                f"model given. Received: budget[{key!r}]={value!r}"
            )
    if epochs and not getattr(model, "compiled", False):
        raise ValueError(
            "Argument `model` must be compiled: `iterative` trains it. "
            f"Received: model={model.name!r}"
        )
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    console = Console(stderr=True, quiet=not verbose)
    full, plans, small = None, [], model
    for step in range(1, steps + 1):
        limits = {}
        for key, value in budget.items():
            left = 1.0 - (1.0 - budgets.fraction(value)) * step / steps
            now = plans[-1].after[key] if plans and key != "channels" else None
            limits[key] = min(left * full[key] / now, 1.0) if now else left
        if "channels" in limits and step > 1:
            before = (
                1.0
                - (1.0 - budgets.fraction(budget["channels"]))
                * (step - 1)
                / steps
            )
            limits["channels"] = limits["channels"] / before
        plan, removal = planned(
            small,
            criterion,
            limits or None,
            round_to,
            data=data if pair else None,
            **options,
        )
        full = full or plan.before
        plans.append(plan)
        optimizer = getattr(small, "optimizer", None)
        trained = optimizer is not None and optimizer.built
        small = removal.small_like(small, optimizer=trained)
        if repair:
            so_far = functools.reduce(PruningPlan.then, plans)
            small, _ = repairing.repair(
                small,
                so_far,
                model,
                data[0] if pair else data,
                verbose=verbose,
            )
        console.print(
            f"step {step}/{steps}: "
            + ", ".join(
                f"{plan.after[key] / full[key]:.1%} of the {key} left"
                for key in full
            ),
            highlight=False,
        )
        if epochs:
            settings = {"verbose": "auto" if verbose else 0}
            settings.update(fit_options or {})
            small.fit(*(data if pair else (data,)), epochs=epochs, **settings)
    return small, plans
