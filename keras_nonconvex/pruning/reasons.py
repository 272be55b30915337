"""Reasons: why each channel of a plan stays or goes, in words."""

import collections

import numpy as np

from keras_nonconvex.pruning.pruning_plan import LayerPlan


def name_of(criterion):
    if isinstance(criterion, str):
        return criterion
    named = getattr(criterion, "__name__", None)
    return named or type(criterion).__name__


def tied(trace):
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


def limit(plan, selection, kept_for):
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


def layer_plans(costs, keep, why, found):
    trace = costs.trace
    before = costs.layers(np.ones(len(trace), dtype=bool))
    after = costs.layers(keep, found.branches.gone)
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
