"""`plan`: what goes, what stays, and why. `PruningPlan`: plain data."""

import collections
import dataclasses
import fnmatch
import json
import warnings

import numpy as np
from rich.table import Table

from keras_nonconvex import checks
from keras_nonconvex import counts
from keras_nonconvex.pruning import budget as budgets
from keras_nonconvex.pruning import criteria
from keras_nonconvex.pruning import removal
from keras_nonconvex.pruning.selection import Selection
from keras_nonconvex.pruning.trace import Trace


@dataclasses.dataclass
class LayerPlan:
    """One layer: `keep` has one bool per output channel, or is empty.

    Attributes:
        name, kind: Of the layer; "model/layer" for a nested one.
        keep: Which of the channels that it makes stay.
        params, macs: (before, after).
        reason: Why, in words.
    """

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
        before, after: {"params", "macs"} and what else was measured.
        layers: One `LayerPlan` per layer with weights. Their `keep` lists may
            be edited; tied layers must agree.
        select: Whether normalizations choose among their input's channels.
        on_constant: What is done about constants at a border.
        border_error: {layer: greatest error of its output before the
            activation, near a border, where a constant was folded}.
        removed: Layers that go whole.
        limit: Why the target cannot be met, "" if it is.
        tied: {layer: other layers whose channels go with its own}.
    """

    model: str
    criterion: str
    target: dict
    before: dict
    after: dict
    layers: list
    select: bool = False
    on_constant: str = "keep"
    border_error: dict = dataclasses.field(default_factory=dict)
    removed: list = dataclasses.field(default_factory=list)
    limit: str = ""
    tied: dict = dataclasses.field(default_factory=dict)

    def apply(self, model, optimizer=False):
        """A new plain model without the dropped channels.

        `model` is untouched. The result computes what `mask(model)` does,
        and what `model` does where all dropped channels are superfluous. It
        is compiled as `model` is, without a solver.

        Args:
            model: The model that the plan was made for.
            optimizer: Whether to carry over the optimizer's state for the
                weights that stay.
        """
        trace = Trace(model, self.select)
        found = removal.Removal(trace, self._kept(trace), self.on_constant)
        found.check()
        small = found.small()
        removal.compile_like(small, model)
        if optimizer:
            removal.carry_optimizer(small, model, found)
        return small

    def mask(self, model):
        """A new plain model, same architecture, dropped channels zeroed."""
        trace = Trace(model, self.select)
        return removal.Removal(
            trace, self._kept(trace), self.on_constant
        ).masked()

    def diff(self):
        """The layers that change, before and after, as text."""
        table = Table(title=self._headline(), title_justify="left")
        table.add_column("layer")
        for name in ("channels", "params", "MACs"):
            table.add_column(f"{name} before", justify="right")
            table.add_column("after", justify="right")
        for layer in self.layers:
            if layer.params[0] == layer.params[1]:
                continue
            gone = layer.name in self.removed
            table.add_row(
                f"{layer.name} [dim]{layer.kind}",
                *(f"{n:,}" for n in layer.channels if layer.keep),
                *([""] * (0 if layer.keep else 2)),
                f"{layer.params[0]:,}",
                "removed" if gone else f"{layer.params[1]:,}",
                *(f"{n:,}" if layer.macs[0] else "" for n in layer.macs),
            )
        return counts.render(table)

    def explain(self, layer):
        """Why a layer keeps what it keeps, and which layers it is tied to."""
        found = {entry.name: entry for entry in self.layers}
        if layer not in found:
            raise ValueError(
                "Argument `layer` must be the name of a layer with weights: "
                f"{', '.join(found)}. Received: layer={layer!r}"
            )
        entry = found[layer]
        lines = [f"{entry.name} ({entry.kind})"]
        if entry.keep:
            full, kept = entry.channels
            lines.append(f"channels: {kept} of {full} stay")
            gone = [i for i, stays in enumerate(entry.keep) if not stays]
            if gone:
                lines.append(f"removed: {_ranges(gone)}")
        if entry.reason:
            lines.append(f"why: {entry.reason}")
        together = [n for n in self.tied.get(layer, []) if n != layer]
        if together:
            lines.append(f"goes together with: {', '.join(together)}")
        if layer in self.border_error:
            lines.append(f"error at the border: {self.border_error[layer]:.3g}")
        for name, values in (("params", entry.params), ("MACs", entry.macs)):
            lines.append(f"{name}: {_change(*values)}")
        return "\n".join(lines)

    def dot(self):
        """The coupled groups as a drawing in the DOT language.

        One box per layer that makes channels, one cluster per set of layers
        whose channels stay or go together.
        """
        entries = {entry.name: entry for entry in self.layers}
        lines = ["graph channels {", '  node [shape=box, fontname="sans"];']
        for i, names in enumerate(self._clusters()):
            lines.append(f"  subgraph cluster_{i} {{")
            for name in names:
                full, kept = entries[name].channels
                shade = "lightgrey" if kept == full else "white"
                lines.append(
                    f'    "{name}" [label="{name}\\n{kept} of {full}", '
                    f"style=filled, fillcolor={shade}];"
                )
            lines.append("  }")
        return "\n".join([*lines, "}"])

    def _clusters(self):
        seen = set()
        for entry in self.layers:
            if entry.keep and entry.name not in seen:
                names = [entry.name, *self.tied.get(entry.name, [])]
                names = [n for n in dict.fromkeys(names) if n not in seen]
                seen.update(names)
                yield names

    def _kept(self, trace):
        """The keep lists as one bool per channel id."""
        keep = np.ones(len(trace), dtype=bool)
        made = {
            name: np.concatenate(arrays) for name, arrays in trace.made.items()
        }
        mine = {layer.name: layer.keep for layer in self.layers if layer.keep}
        sizes = {(name, len(ids)) for name, ids in made.items()}
        differing = sizes ^ {(name, len(keep)) for name, keep in mine.items()}
        if differing:
            raise ValueError(
                "The plan was made for another model: these layers or their "
                f"channels differ: {sorted(differing)[:4]}. "
                f"Received: model={trace.model.name!r}, plan for "
                f"{self.model!r}"
            )
        for name, ids in made.items():
            keep[trace.root_of[ids][~np.array(mine[name], bool)]] = False
        for name, ids in made.items():
            roots = trace.root_of[ids]
            if not np.array_equal(keep[roots], np.array(mine[name], bool)):
                raise ValueError(
                    f"The keep list of layer '{name}' disagrees with that of "
                    "a layer whose channels are tied to its own. "
                    f"Received: {self.tied.get(name, [])}"
                )
            bad = ~keep[roots] & ~trace.free[roots]
            if bad.any():
                reason = trace.reasons.get(int(roots[np.argmax(bad)]), "")
                raise ValueError(
                    f"Layer '{name}' cannot lose channels: {reason}. "
                    f"Received: {int(bad.sum())} such channels dropped"
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
                "removed whole" if layer.name in self.removed else layer.reason,
            )
        if self.border_error:
            worst = max(self.border_error, key=self.border_error.get)
            table.caption = (
                "Constants folded at borders: outputs differ there by up to "
                f"{self.border_error[worst]:.3g} before the activation of "
                f"'{worst}'."
            )
        return table

    def _headline(self):
        parts = []
        for key in self.before:
            word = {"params": "parameters", "macs": "MACs"}.get(key, key)
            left, full = self.after[key], self.before[key]
            part = f"{left / max(full, 1e-300):.1%} of the {word} stay"
            if key in self.target:
                met = "met" if left <= self.target[key] else "NOT met"
                part += f" (target {self.target[key] / full:.1%} {met})"
            parts.append(part)
        text = ", ".join(parts)
        return f"{text}. {self.limit}" if self.limit else text

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
    removal_ = removal.Superfluous(trace, on_constant)
    movable = trace.free.copy()
    movable[list(removal_.stuck)] = False
    excluded = _excluded(trace, exclude)
    movable[list(excluded)] = False
    superfluous = (removal_.unread | removal_.constant) & movable
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
    costs = _Costs(trace, budget or {}, on_constant)
    limits = budgets.absolute(budget or {}, costs.before)

    def choose():
        if "channels" in (budget or {}):
            keep = selection.by_channels(budget["channels"])
            if budgets.within(costs(keep), limits):
                return keep
        if limits:
            return selection.within(costs, limits)
        return selection.legal(~superfluous)

    keep = choose()
    found = removal.Removal(trace, keep, on_constant)
    while len(found.branches.emptied):
        # Some layer that has to stay would have no channel left.
        selection.emptied -= {
            i
            for i, block in enumerate(selection.blocks)
            if np.isin(block.roots, found.branches.emptied).any()
        }
        keep = choose()
        found = removal.Removal(trace, keep, on_constant)

    def why(root):
        root = int(root)
        dead = removal_.unread[root] or removal_.constant[root]
        if keep[root]:
            if superfluous[root] and selection.round_to > 1:
                return (
                    f"superfluous, kept for a multiple of {selection.round_to}"
                )
            if superfluous[root]:
                return "superfluous, kept so that the layer stays"
            if dead and root in removal_.stuck:
                return removal_.stuck[root]
            return trace.reasons.get(root) or excluded.get(root)
        if removal_.unread[root]:
            return "zero outgoing weights"
        if removal_.constant[root]:
            return "zero filters"
        return f"lowest {_name(criterion)}"

    after = costs(keep, found)
    layers = _layer_plans(trace, keep, why, found)
    result = PruningPlan(
        model=trace.model.name,
        criterion=_name(criterion),
        target=limits,
        before=costs.before,
        after=after,
        layers=layers,
        select=select,
        on_constant=on_constant,
        border_error=found.border_errors(),
        removed=found.branches.gone,
        tied=_tied(trace),
    )
    if not result.met:
        kept_for = {
            name: collections.Counter(
                reason
                for root in trace.root_of[np.concatenate(arrays)]
                if (reason := trace.reasons.get(int(root)))
            )
            for name, arrays in trace.made.items()
        }
        result.limit = _limit(result, selection, kept_for)
    return result


def prune(model, criterion=None, budget=None, round_to=None, **options):
    """`plan(...)` and `apply` in one call; see `plan`.

    Warns where the budget cannot be met.
    """
    found = plan(model, criterion, budget, round_to, **options)
    if not found.met:
        warnings.warn(
            f"The budget cannot be met; this is the closest: "
            f"{found._headline()} Received: budget={budget}",
            stacklevel=2,
        )
    return found.apply(model)


class _Costs:
    """Function keep -> costs, of what is asked for and of what is free."""

    def __init__(self, trace, budget, on_constant):
        self.trace = trace
        self.measured = [k for k in budget if k in budgets.MEASURES]
        self.on_constant = on_constant
        everything = np.ones(len(trace), dtype=bool)
        self.before = trace.costs(everything)
        if "macs" in budget and "macs" not in self.before:
            raise trace.macs_unknown
        for key in self.measured:
            self.before[key] = budgets.MEASURES[key](trace.model)

    def __call__(self, keep, found=None):
        costs = self.trace.costs(
            keep, found.branches.gone if found is not None else ()
        )
        if found is not None:
            costs["params"] += found.new_parameters()
        if self.measured:
            found = found or removal.Removal(self.trace, keep, self.on_constant)
            if not len(found.branches.emptied):
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
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
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


def _tied(trace):
    """{layer: the other layers of its classes}, for layers that have some."""
    found = collections.defaultdict(dict)
    for names in trace.makers().values():
        if len(names) > 1:
            ordered = [n for n in trace.made if n in names]
            for name in ordered:
                found[name].update(dict.fromkeys(ordered))
    return {
        name: [n for n in others if n != name] for name, others in found.items()
    }


def _limit(plan, selection, kept_for):
    """What keeps the rest, in a sentence or two.

    Args:
        plan: A `PruningPlan`.
        selection: The `Selection` that it was made by.
        kept_for: {layer: Counter of reasons why channels have to stay}.
    """
    held = collections.Counter()
    for layer in plan.layers:
        for reason, count in kept_for.get(layer.name, {}).items():
            held[reason] += layer.params[1] * count // len(layer.keep)
    text = (
        "No less can stay with "
        f"round_to={selection.round_to}, "
        f"min_channels={selection.min_channels}, "
        f"max_ratio={selection.max_ratio:g}."
    )
    if held:
        (reason, size), *_ = held.most_common(1)
        text += f" Of what stays, some {size:,} parameters: {reason}."
    return text


def _layer_plans(trace, keep, why, found):
    before = trace.layer_costs(np.ones(len(trace), dtype=bool))
    after = trace.layer_costs(keep, found.branches.gone)
    plans = []
    for name, layer in trace.layers.items():
        if not layer.weights:
            continue
        kept, reason = [], ""
        if name in trace.made:
            roots = trace.root_of[np.concatenate(trace.made[name])]
            kept = [bool(k) for k in keep[roots]]
            texts = collections.Counter(why(root) for root in roots)
            reason = "; ".join(
                text if count == len(roots) else f"{count}: {text}"
                for text, count in texts.most_common()
                if text
            )
        (params0, macs0), (params1, macs1) = before[name], after[name]
        more = found.new_parameters(layer)
        plans.append(
            LayerPlan(
                name,
                type(layer).__name__,
                kept,
                (params0, params1 + more),
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
    if round_to is not None:
        checks.whole("round_to", round_to, 1)


def _name(criterion):
    if isinstance(criterion, str):
        return criterion
    named = getattr(criterion, "__name__", None)
    return named or type(criterion).__name__


def _change(before, after):
    same = before == after
    return f"{before:,}" if same else f"{before:,} -> {after:,}"


def _ranges(numbers):
    """[1, 2, 3, 7] -> "1-3, 7"."""
    parts = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
