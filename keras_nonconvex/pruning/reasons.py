"""Reasons: why each channel of a plan stays or goes, in words."""

import collections

import numpy as np

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
        if self.candidates.superfluous[root]:
            round_to = self.selection.round_to
            if round_to > 1:
                return f"superfluous, kept for a multiple of {round_to}"
            return "superfluous, kept so that the layer stays"
        return superfluous.stuck.get(root) or self._has_to_stay(root)

    def _has_to_stay(self, root):
        return self.trace.reasons.get(root) or self.candidates.excluded.get(
            root
        )

    def of_layer(self, roots):
        """The reasons of a layer's channels in one line, with their counts.

        Args:
            roots: The roots of the channels that the layer makes.
        """
        counts = collections.Counter(self.of(root) for root in roots)
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
        held = collections.Counter()
        for layer in plan.layers:
            reasons = collections.Counter(
                self._has_to_stay(int(root))
                for root in _roots(self.trace, layer.name)
            )
            del reasons[None]
            for reason, count in reasons.items():
                held[reason] += layer.params[1] * count // len(layer.keep)
        selection = self.selection
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


def _roots(trace, layer):
    """The roots of the channels that a layer makes, one per channel."""
    arrays = trace.made.get(layer)
    return trace.root_of[np.concatenate(arrays)] if arrays else []


def tied(trace):
    """{layer: the other layers of its classes}, for layers that have some.

    Args:
        trace: A `Trace`.
    """
    others = collections.defaultdict(dict)
    for names in trace.makers().values():
        if len(names) > 1:
            ordered = [n for n in trace.made if n in names]
            for name in ordered:
                others[name].update(dict.fromkeys(ordered))
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
        plans.append(
            LayerPlan(
                name=name,
                kind=type(layer).__name__,
                keep=[bool(keep[root]) for root in roots],
                params=(params_before, params + removal.new_parameters(layer)),
                macs=(macs_before, macs),
                reason=reasons.of_layer(roots)
                or trace.not_followed.get(id(layer), ""),
            )
        )
    return plans
