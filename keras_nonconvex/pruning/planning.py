"""`plan`: which channels a model can lose, and why."""

import warnings

from keras_nonconvex import layer_names
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import carriers
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning import reasons
from keras_nonconvex.pruning.candidates import Candidates
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.costs import BudgetCosts
from keras_nonconvex.pruning.costs import savings
from keras_nonconvex.pruning.options import Options
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.pruning.refitting import repairing
from keras_nonconvex.pruning.removal import remaking
from keras_nonconvex.pruning.removal.removal import Removal
from keras_nonconvex.pruning.removal.superfluous import Superfluous
from keras_nonconvex.pruning.rise import Rise
from keras_nonconvex.pruning.selection import Selection


def plan(
    model,
    criterion=None,
    budget=None,
    round_to=None,
    *,
    data=None,
    combine=None,
    per="auto",
    ranking="global",
    min_channels=1,
    max_ratio=1.0,
    exclude=(),
    on_constant="carry",
    select=False,
    max_rise=None,
):
    """Decides which channels a model can lose. Changes nothing.

    Exactly superfluous channels always go: those that are constant (zero
    filters, zero normalization scales) and those whose readers have only
    zero weights for them. With a budget the channels of the lowest scores go
    as well, until what remains is within it; with `max_rise` as long as the
    loss allows.

    Args:
        model: A built model. Own layers and subclassed models are followed
            to the layers that they call.
        criterion: What ranks the channels: a registered name, one of
            `list(knc.pruning.criteria.REGISTRY)`; an instance of one of
            `pruning.criteria`; or a function as described in
            `pruning.criterion`. Defaults to `None`: "output_change" with
            `data`, "group_norm" without, and "zeros" if there is no budget
            either: superfluous channels only.
        budget: A dict of what may remain: a fraction up to 1, a percentage or
            an absolute number, as in `{"params": 0.1, "macs": "35%"}`. Keys
            are "params", "macs", "channels" (fractions only, or a dict of
            them by layer name pattern, as in `exclude`:
            `{"channels": {"conv*": 0.3}}`), and
            what `measure` registers: "size" in bytes and "latency" in
            milliseconds with `import tflite_export`. Defaults to `None`.
        round_to: The number of channels that a layer keeps is rounded up to
            a multiple of this, an int >= 1. Defaults to 8 with a budget and
            to 1 without one.
        data: `(x, y)`, arrays, or a `tf.data.Dataset`, `PyDataset` or
            generator of them, or the name or folder of a data set: for
            criteria that look at samples. Some of them need no targets: `x`
            alone. Defaults to `None`.
        combine: `"mean"`, `"sum"` or `"max"`: how the scores of channels
            that must go together become one; criteria by gradients look at
            them at once. Defaults to `None`: `"mean"`, or `"sum"` for a
            criterion that says `estimates_loss`.
        per: `"macs"` or `"params"`: scores are divided by what removing the
            channel saves of these; None: they are not. Defaults to `"auto"`:
            criteria by gradients, and others that say `estimates_loss`, are
            divided by what the budget is about ("macs" for "latency",
            "params" for "size"), norms are not.
        ranking: `"global"` ranks the channels of all layers together,
            `"layer"` takes the same fraction of each layer. Defaults to
            `"global"`.
        min_channels: Each layer keeps at least so many channels, an int >= 0.
            With 0 a branch of a residual sum may go whole; a branch of zeros
            always may. Defaults to `1`.
        max_ratio: At most this fraction of a layer's channels goes, in
            [0, 1]. Defaults to `1.0`.
        exclude: A layer name pattern with shell wildcards such as `"head*"`,
            or a list of them; for layers of nested models the name alone or
            the whole path, `"backbone/conv*"`. The channels that these layers
            make all stay.
            Defaults to `()`.
        on_constant: What happens to superfluous channels that send a constant
            where no bias can replace it exactly ('same' padding). With
            `"carry"` one of those that a layer reads stays and carries the
            constants of the others, which is exact; `"keep"` keeps all of
            them; `"fold"` folds the constants into the bias, which is inexact
            at the border. Defaults to `"carry"`.
        select: Whether a batch normalization may choose among channels that
            others read too: channel selection, as network slimming does it
            for pre-activation networks. Defaults to `False`.
        max_rise: By how much the loss of the small model may exceed that of
            the whole one, a number >= 0. Channels go in the order of their
            scores until one more would exceed it, or the budget is met; how
            many is found by bisection. The loss is the mean over up to 1,024
            random samples of the criterion's data, else of `data`, and is the
            criterion's own, else the model's. Defaults to `None`: the budget
            alone counts.

    Returns:
        A `PruningPlan`.

    Raises:
        ValueError: An argument is illegal; a pattern matches no layer; the
            criterion or `max_rise` needs samples and there is no `data`; or
            the model is not built, or a subclassed one that cannot be
            followed. A budget that cannot be met raises nothing: the plan
            comes as close as it can, and `plan.met` is `False`.

    Example:
    >>> plan = knc.pruning.plan(model, budget={"macs": 0.5})
    >>> print(plan)
    >>> small = plan.apply(model)
    """
    made, _ = planned(
        model,
        criterion,
        budget,
        round_to,
        data=data,
        combine=combine,
        per=per,
        ranking=ranking,
        min_channels=min_channels,
        max_ratio=max_ratio,
        exclude=exclude,
        on_constant=on_constant,
        select=select,
        max_rise=max_rise,
    )
    return made


def prune(
    model,
    criterion=None,
    budget=None,
    round_to=None,
    *,
    repair=None,
    **options,
):
    """Plans and applies in one call.

    Warns where the budget cannot be met.

    Args:
        model: A built model, as in `plan`; it stays as it is.
        criterion: As in `plan`. Defaults to `None`: with a budget
            "output_change", or "group_norm" without any samples; "zeros"
            without a budget.
        budget: As in `plan`, such as `{"macs": 0.5}`. Defaults to `None`:
            only what is exactly superfluous goes.
        round_to: As in `plan`. Defaults to 8 with a budget and to 1 without.
        repair: Input samples, as in `knc.repair`, on which what is left is
            refitted to the model given; labels are not needed. A criterion
            looks at them too if there is no `data`. Defaults to `None`: it
            is left as it was cut.
        **options: Further arguments of `plan`: `data`, `combine`, `per`,
            `ranking`, `min_channels`, `max_ratio`, `exclude`, `on_constant`,
            `select`, `max_rise`.

    Returns:
        The small model, a plain `keras.Model` compiled as `model` is.

    Example:
    >>> small = knc.prune(model)
    >>> small = knc.prune(model, budget={"macs": 0.5}, repair=x)
    """
    if repair is not None and options.get("data") is None:
        options["data"] = (repair, None)
    made, removal = planned(model, criterion, budget, round_to, **options)
    if not made.met:
        warnings.warn(
            f"The budget cannot be met; this is the closest: "
            f"{made.headline()} Received: budget={budget}",
            stacklevel=2,
        )
    small = removal.small_like(model)
    if repair is not None:
        small, _ = repairing.repair(small, made, model, repair)
    return small


def planned(model, criterion=None, budget=None, round_to=None, **options):
    """A plan, and what carries it out without following the model again.

    Args:
        model: As in `plan`.
        criterion: As in `plan`.
        budget: As in `plan`.
        round_to: As in `plan`.
        **options: The keyword arguments of `plan`.

    Returns:
        `(plan, removal)`, a `PruningPlan` and a `Removal`. The latter counts
        as long as the model's weights stay what they are.
    """
    options = Options(
        criterion, budget, round_to, **{**plan.__kwdefaults__, **options}
    )
    trace = Trace(model, options.select)
    remaking.check(trace.layers)
    _check_patterns(trace, options.budget)
    superfluous = Superfluous(trace, options.on_constant)
    candidates = Candidates(
        trace,
        superfluous,
        options.criterion,
        options.data,
        options.combine,
        options.exclude,
        options.divisor,
    )
    selection = Selection(
        trace,
        candidates.scores,
        candidates.movable,
        options.round_to,
        options.min_channels,
        options.max_ratio,
        options.ranking,
    )
    prices = savings(trace, "params")
    selection.hold(carriers.choose(superfluous.cells, selection, prices))
    costs = BudgetCosts(trace, options.budget, superfluous)
    limits = budgets.absolute(options.budget, costs.before)
    rise = None
    if options.max_rise is not None:
        rise = Rise(trace, superfluous, options.criterion, options.data)
    removal = _chosen(selection, superfluous, costs, limits, rise, options)
    why = reasons.Reasons(candidates, removal, selection, options.criterion)
    return _described(removal, costs, limits, why, rise, options), removal


def _chosen(selection, superfluous, costs, limits, rise, options):
    """The `Removal` of the first choice that leaves no layer empty."""
    while True:
        keep = _choice(selection, costs, limits, options.budget)
        if rise is not None:
            keep = _without_rise(selection, keep, rise, options)
        removal = Removal(selection.trace, keep, superfluous)
        if not removal.branches.emptied:
            return removal
        # Some layer that has to stay would have no channel left.
        selection.keep_some_of(removal.branches.emptied)


def _choice(selection, costs, limits, budget):
    """What stays: one bool per id, read at the class roots."""
    if "channels" in budget:
        keep = selection.by_channels(budget["channels"])
        if budgets.within(costs(keep), limits):
            return keep
    if limits:
        return selection.within(costs, limits)
    return selection.legal(~selection.superfluous)


def _without_rise(selection, keep, rise, options):
    """What stays if the loss must not rise by more than `max_rise`."""

    def allowed(keep):
        return rise(keep) <= options.max_rise

    if options.budget and allowed(keep):
        return keep
    return selection.most(allowed)


def _described(removal, costs, limits, why, rise, options):
    """The `PruningPlan` of a removal."""
    trace = removal.trace
    before, after = dict(costs.before), costs.of(removal)
    target = dict(limits)
    part = options.budget.get("channels")
    if part is not None and not isinstance(part, dict):
        order = why.selection.order
        before["channels"] = len(order)
        after["channels"] = int(removal.keep[order].sum())
        target["channels"] = int(len(order) * budgets.fraction(part) + 0.5)
    made = PruningPlan(
        model=trace.model.name,
        criterion=criteria.name_of(options.criterion),
        target=target,
        before=before,
        after=after,
        layers=reasons.layer_plans(costs.counted, removal, why),
        select=options.select,
        on_constant=options.on_constant,
        border_error=removal.border_errors(),
        removed=removal.branches.gone,
        tied=reasons.tied(trace),
        uncounted=costs.counted.uncounted,
        max_rise=options.max_rise,
        rise=None if rise is None else rise(removal.keep),
    )
    if not made.met:
        made.limit = why.limit(made)
    return made


def _check_patterns(trace, budget):
    """Refuses a budget for layers that do not make channels."""
    parts = budget.get("channels")
    for pattern in parts if isinstance(parts, dict) else ():
        if not any(layer_names.matches(pattern, name) for name in trace.made):
            raise ValueError(
                "Budget 'channels' needs patterns of layers that make "
                f"channels. {layer_names.near(pattern, trace.made)} "
                f"Received: {pattern!r}"
            )
