"""`plan`: what goes, what stays, and why. `PruningPlan`: plain data."""

import collections
import dataclasses
import json
import math

import numpy as np
from rich.table import Table

from keras_nonconvex import counts
from keras_nonconvex.pruning import budget as budgets
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning import fold
from keras_nonconvex.pruning import rebuild
from keras_nonconvex.pruning.trace import Trace


@dataclasses.dataclass
class LayerPlan:
    """One layer: `keep` has one bool per output channel, or is empty."""

    name: str
    kind: str
    keep: list
    params: tuple
    macs: tuple
    reason: str

    @property
    def channels(self):
        return len(self.keep), sum(self.keep)


@dataclasses.dataclass
class PruningPlan:
    """What a pruning does, layer by layer. Prints as a table.

    Attributes:
        model: Name of the model it was made for.
        criterion: How channels were chosen.
        target: Absolute limits asked for, {} if none.
        before, after: {"params", "macs"}.
        layers: One `LayerPlan` per layer with weights. Their `keep` lists may
            be edited; tied layers must agree.
    """

    model: str
    criterion: str
    target: dict
    before: dict
    after: dict
    layers: list

    def apply(self, model):
        """A new plain model without the dropped channels.

        `model` is untouched. The result computes what `mask(model)` does,
        and what `model` does where all dropped channels are superfluous.
        """
        trace = Trace(model)
        return rebuild.small(trace, self._kept_classes(trace))

    def mask(self, model):
        """A new plain model, same architecture, dropped channels zeroed."""
        trace = Trace(model)
        return rebuild.masked(trace, self._kept_classes(trace))

    def _kept_classes(self, trace):
        keep = np.ones(len(trace), dtype=bool)
        makers = {use.layer.name: use for use in trace.of_role("filter")}
        mine = {layer.name: layer.keep for layer in self.layers if layer.keep}
        sizes = {name: len(use.ids) for name, use in makers.items()}
        if sizes != {name: len(keep) for name, keep in mine.items()}:
            differing = sorted(
                set(sizes.items())
                ^ {(name, len(keep)) for name, keep in mine.items()}
            )
            raise ValueError(
                "The plan was made for another model: these layers or their "
                f"channels differ: {differing[:4]}. "
                f"Received: model={trace.model.name!r}, plan for "
                f"{self.model!r}"
            )
        for name, use in makers.items():
            keep[trace.root_of[use.ids][~np.array(mine[name], bool)]] = False
        for name, use in makers.items():
            roots = trace.root_of[use.ids]
            if not np.array_equal(keep[roots], np.array(mine[name], bool)):
                raise ValueError(
                    f"The keep list of layer '{name}' disagrees with that of "
                    "a layer whose channels are tied to its own."
                )
            bad = ~keep[roots] & ~trace.free[roots]
            if bad.any():
                channel = roots[np.argmax(bad)]
                raise ValueError(
                    f"Layer '{name}' cannot lose channels: "
                    f"{trace.frozen(channel)}."
                )
            if not keep[roots].any():
                raise ValueError(
                    f"The keep list of layer '{name}' keeps no channel."
                )
        return keep

    @property
    def met(self):
        """Whether what remains is within the target."""
        return budgets.within(self.after, self.target)

    def table(self):
        """The plan as a rich table."""
        table = Table(
            title=f"{self.model}: {self._headline()}", title_justify="left"
        )
        table.add_column("layer")
        for name in ("channels", "params", "MACs"):
            table.add_column(name, justify="right")
        table.add_column("why")
        for layer in self.layers:
            table.add_row(
                f"{layer.name} [dim]{layer.kind}",
                _change(*layer.channels) if layer.keep else "",
                _change(*layer.params),
                _change(*layer.macs) if layer.macs[0] else "",
                layer.reason,
            )
        return table

    def _headline(self):
        parts = []
        for key, word in (("params", "parameters"), ("macs", "MACs")):
            left, full = self.after[key], self.before[key]
            part = f"{left / full:.1%} of the {word} stay"
            if key in self.target:
                met = "met" if left <= self.target[key] else "NOT met"
                part += f" (target {self.target[key] / full:.1%} {met})"
            parts.append(part)
        return ", ".join(parts)

    def __str__(self):
        return counts.render(self.table())

    def to_json(self):
        """The plan as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text):
        """The plan of `to_json`, possibly edited."""
        data = json.loads(text)
        data["layers"] = [LayerPlan(**layer) for layer in data["layers"]]
        return cls(**data)


def plan(model, criterion=None, budget=None, round_to=None):
    """Decides which channels a model can lose. Changes nothing.

    Exactly superfluous channels always go: those that are constant (zero
    filters, zero normalisation scales) and those whose readers have only
    zero weights for them. A budget removes the lowest-scored ones on top.

    Args:
        model: A built functional or Sequential model.
        criterion: "zeros" for the superfluous channels alone, the default
            without a budget; "group_norm", the default with one, or a
            function of a `Trace` that returns one score per channel id.
        budget: What may remain, as in `{"params": 0.1, "macs": "35%"}`.
        round_to: Round the channels of each layer up to a multiple; 8 with a
            budget and 1 without, if None.

    Returns:
        A `PruningPlan`.
    """
    check(criterion, budget, round_to)
    criterion = criterion or ("group_norm" if budget else "zeros")
    trace = Trace(model)
    everything = np.ones(len(trace), dtype=bool)
    before = trace.costs(everything)
    limits = budgets.absolute(budget, before) if budget else {}
    round_to = round_to or (8 if budget else 1)
    unread = criteria.unread_classes(trace)
    constant = criteria.constant_classes(trace) & ~unread
    # What a channel sends once it is gone depends on that channel alone, so
    # one look at the model without any says which ones no bias can replace.
    masked = rebuild.masked(trace, ~trace.free)
    stuck = fold.unfoldable(trace, ~trace.free, masked)
    movable = trace.free.copy()
    movable[list(stuck)] = False
    superfluous = (unread | constant) & movable
    score = criteria.REGISTRY.get(criterion, criterion)
    scores = (criteria.group_norm if score == "zeros" else score)(trace)
    scores = np.where(superfluous, -np.inf, scores)
    rounded = _Rounding(trace, scores, movable, round_to)
    if limits:
        order = np.flatnonzero(movable)
        order = order[np.argsort(scores[order], kind="stable")]
        keep = budgets.shave(
            trace, order, int(superfluous.sum()), limits, rounded
        )
    else:
        keep = rounded(~superfluous)
    new_biases = fold.new_biases(trace, keep, masked)

    def why(root):
        if keep[root]:
            if superfluous[root] and round_to > 1:
                return f"superfluous, kept for a multiple of {round_to}"
            if superfluous[root]:
                return "superfluous, kept so that the layer stays"
            dead = unread[root] or constant[root]
            return stuck.get(root) if dead else trace.frozen(root)
        if unread[root]:
            return "zero outgoing weights"
        return (
            "zero filters" if constant[root] else f"lowest {_name(criterion)}"
        )

    after = trace.costs(keep)
    after["params"] += sum(new_biases.values())
    return PruningPlan(
        model=trace.model.name,
        criterion=_name(criterion),
        target=limits,
        before=before,
        after=after,
        layers=_layer_plans(trace, keep, why, new_biases),
    )


def prune(model, criterion=None, budget=None, round_to=None):
    """`plan(...)` and `apply` in one call; see `plan`."""
    return plan(model, criterion, budget, round_to).apply(model)


class _Rounding:
    """Brings the best dropped classes back until each layer is legal."""

    def __init__(self, trace, scores, movable, round_to):
        self.scores = scores
        self.round_to = round_to
        fixed = {
            use.layer.name: int((~movable[trace.root_of[use.ids]]).sum())
            for use in trace.of_role("filter")
        }
        # (classes, how many further channels their layers have anyway)
        self.blocks = [
            (roots[movable[roots]], max(fixed[name] for name in names))
            for names, roots in trace.blocks().items()
        ]

    def __call__(self, keep):
        keep = keep.copy()
        for block, fixed in self.blocks:
            kept = int(keep[block].sum())
            wanted = max(kept + fixed, 1)
            wanted = math.ceil(wanted / self.round_to) * self.round_to
            dropped = block[~keep[block]]
            best = np.argsort(-self.scores[dropped], kind="stable")
            keep[dropped[best[: wanted - fixed - kept]]] = True
        return keep


def _layer_plans(trace, keep, why, new_biases):
    before = trace.layer_costs(np.ones(len(trace), dtype=bool))
    after = trace.layer_costs(keep)
    makers = {use.layer.name: use for use in trace.of_role("filter")}
    plans = []
    for name, layer in trace.layers.items():
        if not layer.weights:
            continue
        kept, reason = [], ""
        if name in makers:
            roots = trace.root_of[makers[name].ids]
            kept = [bool(k) for k in keep[roots]]
            found = collections.Counter(why(root) for root in roots)
            reason = "; ".join(
                text if count == len(roots) else f"{count}: {text}"
                for text, count in found.most_common()
                if text
            )
        (params0, macs0), (params1, macs1) = before[name], after[name]
        plans.append(
            LayerPlan(
                name,
                type(layer).__name__,
                kept,
                (params0, params1 + new_biases.get(name, 0)),
                (macs0, macs1),
                reason,
            )
        )
    return plans


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
            f"Received: criterion={_name(criterion)!r}, budget={budget!r}"
        )
    if budget is not None:
        budgets.check(budget)
    if round_to is not None and (not isinstance(round_to, int) or round_to < 1):
        raise ValueError(
            "Argument `round_to` must be an integer >= 1. "
            f"Received: round_to={round_to!r}"
        )


def _name(criterion):
    if isinstance(criterion, str):
        return criterion
    return getattr(criterion, "__name__", "own criterion")


def _change(before, after):
    same = before == after
    return f"{before:,}" if same else f"{before:,} -> {after:,}"
