"""Reasons: why each channel of a plan stays or goes, in words."""

import collections
import functools
import math

import numpy as np

from keras_nonconvex import layer_names
from keras_nonconvex.pruning.criteria import name_of
from keras_nonconvex.pruning.pruning_plan import LayerPlan


class Reasons:
    """Why each class of channels stays or goes.

    Args:
        candidates: The `Candidates`.
        removal: The `Removal` that was chosen.
        selection: The `Selection` that chose it.
        criterion: As in `plan`.
    """

    def __init__(self, candidates, removal, selection, criterion):
        self.trace = removal.trace
        self.candidates = candidates
        self.removal = removal
        self.selection = selection
        self.criterion = name_of(criterion)
        self._known_of = functools.cache(self.of)

    def of(self, root):
        """Why one class stays or goes; None if it could go and stays.

        Args:
            root: The root of the class.
        """
        root = int(root)
        superfluous = self.removal.superfluous
        if not self.removal.keep[root]:
            if superfluous.unread[root]:
                return "zero outgoing weights"
            if superfluous.constant[root]:
                return "zero filters"
            return f"lowest {self.criterion}"
        if root in self._carriers:
            return self._carriers[root]
        if self.candidates.superfluous[root]:
            round_to = self.selection.round_to
            if round_to > 1:
                return f"superfluous, kept for a multiple of {round_to}"
            return "superfluous, kept so that the layer stays"
        return self._has_to_stay(root)

    def _has_to_stay(self, root):
        """Why a class cannot go; None if it can."""
        for reasons in (
            self._carriers,
            self.removal.superfluous.stuck,
            self.trace.reasons,
            self.candidates.excluded,
            self._alone,
        ):
            if root in reasons:
                return reasons[root]
        if self.trace.free[root] and not self.candidates.movable[root]:
            return f"{self.criterion} gives it no score"
        return None

    @functools.cached_property
    def _carriers(self):
        """{root: why} of classes that stay for the constants of others."""
        return {
            root: "carries the constants of others into "
            + layer_names.some([f"'{name}'" for name in names])
            for root, names in self.removal.carried.readers.items()
            if root in self.selection.held
            or root in self.removal.superfluous.stuck
        }

    @functools.cached_property
    def _alone(self):
        """{root: why} of classes without which a layer would be empty."""
        reasons = {}
        if self.selection.min_channels > 0:
            for name in self.trace.made:
                roots = _roots(self.trace, name)
                if len(set(roots.tolist())) == 1:
                    reasons[int(roots[0])] = (
                        f"'{name}' has no other channel"
                        if len(roots) == 1
                        else f"all {len(roots)} channels of '{name}' would go"
                    )
        return reasons

    def of_whole_layer(self, name, layer):
        """Why a layer keeps all that it has, in one line.

        Args:
            name: The name of a layer with weights that loses none.
            layer: The layer.
        """
        if id(layer) in self.trace.not_followed:
            return self.trace.not_followed[id(layer)]
        uses = [use for use in self.trace.uses if use.layer is layer]
        known = [use.ids for use in uses if use.role != "input"]
        known += [use.ids for use in uses if use.role == "input"]
        for call in self.trace.calls:
            if call.operation is layer:
                entering = self.trace.tensors[id(call.inputs[0])]
                known += [ids for ids in entering.axes if ids is not None]
        if not known:
            return f"no channels enter '{name}'"
        return self.of_layer(self.trace.root_of[known[0]])

    def of_layer(self, roots):
        """The reasons of a layer's channels in one line, with their counts.

        Args:
            roots: The roots of the channels that the layer makes.
        """
        counts = collections.Counter(map(self._known_of, roots.tolist()))
        return "; ".join(
            text if count == len(roots) else f"{count}: {text}"
            for text, count in counts.most_common()
            if text
        )

    def limit(self, plan):
        """What keeps a plan from meeting its budget, in a sentence or two.

        Args:
            plan: A `PruningPlan`.
        """
        selection = self.selection
        text = (
            "No less can stay with "
            f"round_to={selection.round_to}, "
            f"min_channels={selection.min_channels}, "
            f"max_ratio={selection.max_ratio:g}"
        )
        if plan.max_rise is not None:
            text += f", max_rise={plan.max_rise:g}"
        text += "."
        held = self._held(plan)
        if held:
            reason, sizes = max(held.items(), key=lambda item: item[1].total())
            layers = layer_names.some(dict(sizes.most_common()), 2)
            text += (
                f" Of {plan.after['params']:,} parameters that stay, "
                f"{sizes.total():,} cannot go (in {layers}): {reason}."
            )
        return text

    def _held(self, plan):
        """{reason: {layer: how many parameters cannot go for it}}."""
        held = collections.defaultdict(collections.Counter)
        axes = collections.defaultdict(list)
        for use in self.trace.uses:
            axes[id(use.variable)].append(use)
        seen = set()
        for name, layer in self.trace.layers.items():
            if name in plan.removed:
                continue
            for variable in layer.weights:
                if id(variable) in seen:
                    continue
                seen.add(id(variable))
                whole = id(layer) in self.trace.not_followed
                reason, size = self._held_of(
                    variable, [] if whole else axes[id(variable)]
                )
                reason = reason or self.of_whole_layer(name, layer)
                if size and reason:
                    held[reason][name] += size
        return held

    def _held_of(self, variable, uses):
        """Why parameters of a weight cannot go, and how many they are."""
        reasons, size = [], math.prod(variable.shape)
        # What a layer makes tells more than what it reads.
        for use in sorted(uses, key=lambda use: use.role == "input"):
            roots = self.trace.root_of[use.ids].tolist()
            found = [why for why in map(self._has_to_stay, roots) if why]
            size = size * len(found) // len(roots)
            reasons += collections.Counter(found).most_common(1)
        return reasons[0][0] if reasons else None, size


def _roots(trace, layer):
    """The roots of the channels that a layer makes, one per channel."""
    arrays = trace.made.get(layer)
    ids = np.concatenate(arrays) if arrays else np.arange(0)
    return trace.root_of[ids]


def tied(trace):
    """{layer: the other layers of its classes}, for layers that have some.

    Args:
        trace: A `Trace`.
    """
    others = collections.defaultdict(dict)
    for names in trace.makers[0]:
        if len(names) > 1:
            for name in names:
                others[name].update(dict.fromkeys(names))
    return {
        name: [n for n in names if n != name] for name, names in others.items()
    }


def layer_plans(costs, removal, reasons):
    """One `LayerPlan` per layer with weights.

    Args:
        costs: The `Costs` of the model.
        removal: The `Removal` that was chosen.
        reasons: Its `Reasons`.
    """
    trace, keep = removal.trace, removal.keep
    before = costs.layers(np.ones(len(trace), dtype=bool))
    after = costs.layers(keep, removal.branches.gone)
    plans = []
    for name, layer in trace.layers.items():
        if not layer.weights:
            continue
        roots = _roots(trace, name)
        (params_before, macs_before), (params, macs) = before[name], after[name]
        params += removal.new_parameters(layer)
        reason = reasons.of_layer(roots)
        if not reason and params == params_before:
            reason = reasons.of_whole_layer(name, layer)
        plans.append(
            LayerPlan(
                name=name,
                kind=type(layer).__name__,
                keep=[bool(keep[root]) for root in roots],
                params=(params_before, params),
                macs=(macs_before, macs),
                reason=reason,
            )
        )
    return plans
