"""`plan`: which channels a model can lose, and why."""

import collections
import dataclasses
import fnmatch
import warnings

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning import reasons
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.costs import Costs
from keras_nonconvex.pruning.pruning_plan import PruningPlan
from keras_nonconvex.pruning.removal import removal
from keras_nonconvex.pruning.selection import Selection


def plan(
    model,
    criterion=None,
    budget=None,
    round_to=None,
    *,
    data=None,
    combine="mean",
    ranking="global",
    min_channels=1,
    max_ratio=1.0,
    exclude=(),
    on_constant="keep",
    select=False,
):
    """Decides which channels a model can lose. Changes nothing.

    Exactly superfluous channels always go: those that are constant (zero
    filters, zero normalization scales) and those whose readers have only
    zero weights for them. A budget removes the lowest-scored ones on top.

    Args:
        model: A built functional or Sequential model.
        criterion: "zeros" for the superfluous channels alone, the default
            without a budget; "group_norm", the default with one, "bn_scale",
            "loss_rise", "taylor", "geometric_median", "random"; an instance
            of one of `pruning.criteria`; or a function of a `Trace`, see
            there.
        budget: What may remain, as in `{"params": 0.1, "macs": "35%"}`;
            `{"channels": 0.3}`, or `{"channels": {"conv*": 0.3}}` for layers
            of their own; "size" and "latency" with `import tflite_export`.
        round_to: Round the channels of each layer up to a multiple; 8 with a
            budget and 1 without, if None.
        data: (x, y) for criteria that look at samples.
        combine: "mean", "sum" or "max": the score of a class of tied
            channels from those of its members.
        ranking: "global", or "layer" to take the same fraction everywhere.
        min_channels: At least so many stay in each layer; with 0 a branch of
            a residual sum may go whole. Branches of zeros always may.
        max_ratio: At most this fraction of a layer's channels goes.
        exclude: Layer name patterns; what these layers make stays.
        on_constant: "keep" what sends a constant that no bias can replace
            exactly ('same' padding); or "fold" it, inexact at the border.
        select: Whether a batch normalization may choose among channels that
            others read too: channel selection, as network slimming does it
            for pre-activation networks.

    Returns:
        A `PruningPlan`.
    """
    check(criterion, budget, round_to)
    checks.choice("ranking", ranking, ["global", "layer"])
    checks.choice("on_constant", on_constant, ["keep", "fold"])
    checks.whole("min_channels", min_channels, 0)
    max_ratio = checks.number(
        "max_ratio", max_ratio, "a number in [0, 1]", lambda v: 0 <= v <= 1
    )
    criterion = criterion or ("group_norm" if budget else "zeros")
    trace = Trace(model, select)
    dead = removal.Superfluous(trace, on_constant)
    movable = trace.free.copy()
    movable[list(dead.stuck)] = False
    excluded = _excluded(trace, exclude)
    movable[list(excluded)] = False
    superfluous = (dead.unread | dead.constant) & movable
    scores = _scores(trace, criterion, data, combine)
    movable &= superfluous | (scores < np.inf)
    scores = np.where(superfluous, -np.inf, scores)
    selection = Selection(
        trace,
        scores,
        movable,
        round_to or (8 if budget else 1),
        min_channels,
        max_ratio,
        ranking,
    )
    costs = _Budgeted(trace, budget or {}, dead)
    limits = budgets.absolute(budget or {}, costs.before)

    if isinstance((budget or {}).get("channels"), dict):
        for pattern in budget["channels"]:
            if not fnmatch.filter(trace.made, pattern):
                raise ValueError(
                    "Budget 'channels' needs patterns of layers that make "
                    f"channels: {list(trace.made)[:5]} and so on. "
                    f"Received: {pattern!r}"
                )

    def choose():
        if "channels" in (budget or {}):
            keep = selection.by_channels(budget["channels"])
            if budgets.within(costs(keep), limits):
                return keep
        if limits:
            return selection.within(costs, limits)
        return selection.legal(~superfluous)

    keep = choose()
    found = removal.Removal(trace, keep, dead)
    while found.branches.emptied:
        # Some layer that has to stay would have no channel left.
        selection.keep_some_of(found.branches.emptied)
        keep = choose()
        found = removal.Removal(trace, keep, dead)

    def why(root):
        root = int(root)
        if keep[root]:
            if superfluous[root] and selection.round_to > 1:
                return (
                    f"superfluous, kept for a multiple of {selection.round_to}"
                )
            if superfluous[root]:
                return "superfluous, kept so that the layer stays"
            if root in dead.stuck:
                return dead.stuck[root]
            return trace.reasons.get(root) or excluded.get(root)
        if dead.unread[root]:
            return "zero outgoing weights"
        if dead.constant[root]:
            return "zero filters"
        return f"lowest {reasons.name_of(criterion)}"

    after = costs(keep, found)
    layers = reasons.layer_plans(costs.counted, keep, why, found)
    before, target = dict(costs.before), dict(limits)
    part = (budget or {}).get("channels")
    if part is not None and not isinstance(part, dict):
        order = selection.order
        before["channels"], after["channels"] = (
            len(order),
            int(keep[order].sum()),
        )
        target["channels"] = int(len(order) * budgets.fraction(part) + 0.5)
    result = PruningPlan(
        model=trace.model.name,
        criterion=reasons.name_of(criterion),
        target=target,
        before=before,
        after=after,
        layers=layers,
        select=select,
        on_constant=on_constant,
        border_error=found.border_errors(),
        removed=found.branches.gone,
        tied=reasons.tied(trace),
    )
    if not result.met:
        kept_for = {
            name: collections.Counter(
                reason
                for root in trace.root_of[np.concatenate(arrays)]
                if (
                    reason := trace.reasons.get(int(root))
                    or excluded.get(int(root))
                )
            )
            for name, arrays in trace.made.items()
        }
        result.limit = reasons.limit(result, selection, kept_for)
    return result


def prune(model, criterion=None, budget=None, round_to=None, **options):
    """`plan(...)` and `apply` in one call; see `plan`.

    Warns where the budget cannot be met.
    """
    found = plan(model, criterion, budget, round_to, **options)
    if not found.met:
        warnings.warn(
            f"The budget cannot be met; this is the closest: "
            f"{found.headline()} Received: budget={budget}",
            stacklevel=2,
        )
    return found.apply(model)


class _Budgeted:
    """Function keep -> costs: what is counted, and what a budget measures.

    Attributes:
        counted: The `Costs`.
        before: The costs of the whole model.
    """

    def __init__(self, trace, budget, superfluous):
        self.trace = trace
        self.superfluous = superfluous
        self.counted = Costs(trace)
        self.measured = [k for k in budget if k in budgets.MEASURES]
        self.before = dict(self.counted.full)
        if "macs" in budget and "macs" not in self.before:
            raise self.counted.macs_unknown
        for key in self.measured:
            self.before[key] = budgets.MEASURES[key](trace.model)

    def __call__(self, keep, found=None):
        gone = found.branches.gone if found is not None else ()
        costs = self.counted.total(keep, gone)
        if found is not None:
            costs["params"] += found.new_parameters()
        if self.measured:
            found = found or removal.Removal(self.trace, keep, self.superfluous)
            if found.branches.emptied:  # No model; it is chosen anew.
                return {**costs, **dict.fromkeys(self.measured, 0)}
            small = found.small()
            for key in self.measured:
                costs[key] = budgets.MEASURES[key](small)
        return costs


def _scores(trace, criterion, data, combine):
    found = (
        criteria.REGISTRY.get(criterion, criterion)
        if isinstance(criterion, str)
        else criterion
    )
    if criterion == "zeros":
        found = criteria.GroupNorm()
    if isinstance(found, type):
        needs = "data" in {f.name for f in dataclasses.fields(found)}
        if needs and data is None:
            raise ValueError(
                f"Criterion {criterion!r} looks at samples: give "
                "data=(x, y). Received: data=None"
            )
        found = found(data=data) if needs else found()
    scores = found(trace)
    if isinstance(scores, list):
        scores = criteria.combined(trace, scores, combine)
    scores = np.asarray(scores, dtype="float64")
    if scores.shape != (len(trace),) or np.isnan(scores).any():
        raise ValueError(
            "A criterion must return one number per channel id, "
            f"{len(trace)} here, or (use, scores) pairs. "
            f"Received: shape {scores.shape}"
            + (" with NaN" if np.isnan(scores).any() else "")
        )
    return np.maximum(scores, -1e300)


def _excluded(trace, patterns):
    """{root: why} of the classes that excluded layers make."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, (list, tuple)) or not all(
        isinstance(pattern, str) for pattern in patterns
    ):
        raise ValueError(
            "Argument `exclude` must be a layer name pattern or a list of "
            f"them. Received: exclude={patterns!r}"
        )
    found = {}
    for pattern in patterns:
        names = fnmatch.filter(trace.layers, pattern)
        if not names:
            raise ValueError(
                "Argument `exclude` needs patterns of layer names. No layer "
                f"is called so: {pattern!r}; the first are "
                f"{list(trace.layers)[:5]}. Received: exclude={patterns!r}"
            )
        for name in names:
            for ids in trace.made.get(name, []):
                for root in trace.root_of[ids]:
                    found[int(root)] = f"'{name}' is excluded"
    return found


def check(criterion, budget, round_to):
    """Refuses arguments of `plan` that cannot work for any model."""
    known = ["zeros", *criteria.REGISTRY]
    if criterion is None:
        criterion = "zeros" if budget is None else "group_norm"
    if not callable(criterion) and criterion not in known:
        raise ValueError(
            f"Argument `criterion` must be one of {', '.join(known)} or a "
            f"function. Received: criterion={criterion!r}"
        )
    if (criterion == "zeros") != (budget is None):
        raise ValueError(
            "A budget needs a criterion that ranks channels, such as "
            "'group_norm', and such a criterion needs a budget. "
            f"Received: criterion={reasons.name_of(criterion)!r}, "
            f"budget={budget!r}"
        )
    if budget is not None:
        budgets.check(budget)
    if round_to is not None:
        checks.whole("round_to", round_to, 1)
