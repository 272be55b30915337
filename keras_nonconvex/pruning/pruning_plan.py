"""`PruningPlan`: what a pruning does, as plain data."""

import dataclasses
import json

import numpy as np

from keras_nonconvex import counts
from keras_nonconvex import layer_names
from keras_nonconvex import terminal
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import drawing
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex.pruning.removal.removal import Removal
from keras_nonconvex.pruning.removal.superfluous import Superfluous


@dataclasses.dataclass
class LayerPlan:
    """What a plan does with one layer.

    Attributes:
        name: The layer's name; "model/layer" for a layer of a nested model.
        kind: The name of its class.
        keep: A list with one bool per channel that the layer makes, `True`
            where it stays; empty for layers that make none.
        params: How many parameters it has, `(before, after)`.
        macs: How many multiply-adds it takes per sample, `(before, after)`.
        reason: Why its channels stay or go, in words.
    """

    name: str
    kind: str
    keep: list
    params: tuple
    macs: tuple
    reason: str

    @property
    def channels(self):
        """How many channels the layer makes, `(before, after)`."""
        return len(self.keep), sum(self.keep)


@dataclasses.dataclass
class PruningPlan:
    """What a pruning does, layer by layer.

    `plan` makes it. It is plain data: `print(plan)` shows it as a table,
    `to_json` and `from_json` store it, and the `keep` lists of its layers may
    be edited before `apply`.

    Attributes:
        model: The name of the model that it was made for.
        criterion: The name of the criterion that ranked the channels.
        target: {budget key: absolute limit}; {} without a budget.
        before: {"params": ..., "macs": ...} of the whole model, and what else
            the budget speaks of.
        after: The same of what remains.
        layers: A list with one `LayerPlan` per layer with weights. Where
            `keep` lists are edited, those of tied layers must agree.
        select: Whether normalizations choose among their input's channels.
        on_constant: `"carry"`, `"keep"` or `"fold"`, as in `plan`.
        border_error: {layer name: greatest error of its output before the
            activation, near a border, where a constant was folded}.
        removed: The names of the layers that go whole.
        limit: Why the target cannot be met; "" if it is.
        tied: {layer name: other layers whose channels go with its own}.
        uncounted: The names of the layers whose MACs are not known.
        max_rise: By how much the loss might rise, as in `plan`, or None.
        rise: By how much it rises, None where it was not measured.

    Example:
    >>> plan = knc.pruning.plan(model, budget={"params": 0.3})
    >>> plan.layers[0].keep[5] = True
    >>> small, masked = plan.apply(model), plan.mask(model)
    """

    model: str
    criterion: str
    target: dict
    before: dict
    after: dict
    layers: list
    select: bool = False
    on_constant: str = "carry"
    border_error: dict = dataclasses.field(default_factory=dict)
    removed: list = dataclasses.field(default_factory=list)
    limit: str = ""
    tied: dict = dataclasses.field(default_factory=dict)
    uncounted: list = dataclasses.field(default_factory=list)
    max_rise: float | None = None
    rise: float | None = None

    def apply(self, model, optimizer=False):
        """A new model without the dropped channels.

        It computes what `mask(model)` does, and what `model` does where all
        dropped channels are superfluous. It is compiled as `model` is,
        without a solver.

        Args:
            model: The model that the plan was made for, or one of the same
                architecture; it stays as it is.
            optimizer: Whether to carry over the optimizer's state for the
                weights that stay. Defaults to `False`.

        Returns:
            A plain `keras.Model`.
        """
        removal = self._removal(model)
        removal.check()
        return removal.small_like(model, optimizer)

    def mask(self, model):
        """A new model of the same architecture, dropped channels zeroed.

        Args:
            model: The model that the plan was made for, or one of the same
                architecture; it stays as it is.

        Returns:
            A plain `keras.Model`.
        """
        return self._removal(model).masked()

    def _removal(self, model):
        trace = Trace(model, self.select)
        superfluous = Superfluous(trace, self.on_constant)
        return Removal(trace, self.kept(trace), superfluous)

    def then(self, later):
        """One plan that does what this one and a later one do in turn.

        Args:
            later: A `PruningPlan` of the small model of this one, trained
                since or not.

        Returns:
            A `PruningPlan` for the model of this one: its keep lists are
            those of both.
        """
        after = {layer.name: layer for layer in later.layers}
        layers = []
        for layer in self.layers:
            last = after.get(layer.name)
            if last is None:
                layers.append(layer)
                continue
            keep = np.array(layer.keep, bool)
            if len(last.keep) != keep.sum():
                raise ValueError(
                    "Argument `later` must be a plan for the small model: "
                    f"layer '{layer.name}' keeps {int(keep.sum())} channels. "
                    f"Received: a plan for {len(last.keep)}"
                )
            before = f"{layer.keep.count(False)}: in earlier steps"
            reasons = [before] * (not all(layer.keep)) + [last.reason]
            keep[keep] = last.keep
            layers.append(
                dataclasses.replace(
                    last,
                    keep=keep.tolist(),
                    reason="; ".join(filter(None, reasons)),
                    params=(layer.params[0], last.params[1]),
                    macs=(layer.macs[0], last.macs[1]),
                )
            )
        return dataclasses.replace(
            later,
            model=self.model,
            before=self.before,
            layers=layers,
            border_error={**self.border_error, **later.border_error},
            removed=[*self.removed, *later.removed],
            tied=self.tied,
            max_rise=None,
            rise=None,
            select=self.select or later.select,
        )

    def diff(self):
        """The layers that change, before and after, as a table in text."""
        table = terminal.table(
            "layer", "channels", "after", "params", "after", "MACs", "after"
        )
        for layer in self.layers:
            if layer.params[0] == layer.params[1]:
                continue
            gone = layer.name in self.removed
            table.add_row(
                terminal.Name(layer.name, layer.kind),
                *(map(str, layer.channels) if layer.keep else ("", "")),
                terminal.number(layer.params[0]),
                "removed" if gone else terminal.number(layer.params[1]),
                *(map(terminal.number, layer.macs) if layer.macs[0] else ()),
            )
        return terminal.render(terminal.titled(self.headline(), table))

    def explain(self, layer):
        """Why a layer keeps what it keeps, and which layers it is tied to.

        Args:
            layer: The name of a layer with weights; in a nested model the
                path too, `"backbone/conv1"`.

        Returns:
            Some lines of text.
        """
        entries = {entry.name: entry for entry in self.layers}
        meant = [name for name in entries if layer_names.matches(layer, name)]
        if layer not in entries and len(meant) != 1:
            raise ValueError(
                "Argument `layer` must be the name of one layer with weights. "
                f"{layer_names.near(layer, entries)} Received: layer={layer!r}"
            )
        layer = layer if layer in entries else meant[0]
        entry = entries[layer]
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
        lines.append(f"params: {_change(*entry.params)}")
        known = layer not in self.uncounted
        macs = _change(*entry.macs) if known else "not known"
        lines.append(f"MACs: {macs}")
        return "\n".join(lines)

    def dot(self):
        """The coupled layers as a drawing in the DOT language, as text.

        There is one box per layer that makes channels, and one cluster per
        set of layers whose channels stay or go together. `dot -Tsvg` draws
        it.
        """
        return drawing.dot(self)

    def kept(self, trace):
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
        """The plan as a table that rich can print."""
        table = terminal.table("layer", "channels", "params", "MACs")
        for layer in self.layers:
            table.add_row(
                terminal.noted(
                    terminal.Name(layer.name, layer.kind),
                    "removed whole"
                    if layer.name in self.removed
                    else layer.reason,
                ),
                terminal.change(*layer.channels) if layer.keep else "",
                terminal.change(*layer.params),
                self._macs(layer),
            )
        notes = [counts.not_counted(self.uncounted)]
        if self.border_error:
            worst = max(self.border_error, key=self.border_error.get)
            notes.append(
                "Constants folded at borders: outputs differ there by up to "
                f"{self.border_error[worst]:.3g} before the activation of "
                f"'{worst}'."
            )
        return terminal.titled(
            f"{self.model}: {self.headline()}",
            table,
            " ".join(filter(None, notes)),
        )

    def _macs(self, layer):
        if layer.name in self.uncounted:
            return "?"
        return terminal.change(*layer.macs) if layer.macs[0] else ""

    def headline(self):
        """What stays, in one line."""
        parts = []
        for key in self.before:
            counted = "counted MACs" if self.uncounted else "MACs"
            word = {"params": "parameters", "macs": counted}.get(key, key)
            # A model without convolutions and dense layers has no MACs.
            left, full = self.after[key], max(self.before[key], 1e-300)
            part = f"{left / full:.1%} of the {word} stay"
            if key in self.target:
                met = "met" if left <= self.target[key] else "NOT met"
                part += f" (target {self.target[key] / full:.1%} {met})"
            parts.append(part)
        if self.rise is not None:
            parts.append(
                f"the loss rises by {self.rise:.3g} (at most {self.max_rise:g})"
            )
        text = ", ".join(parts)
        return f"{text}. {self.limit}" if self.limit else text

    def __str__(self):
        return terminal.render(self.table())

    def to_json(self):
        """The plan as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text):
        """The plan of `to_json`.

        Args:
            text: JSON text, possibly edited.

        Returns:
            A `PruningPlan`.
        """
        data = json.loads(text)
        data["layers"] = [LayerPlan(**layer) for layer in data["layers"]]
        return cls(**data)


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
