"""What a choice of channels costs: parameters, MACs, and what is measured."""

import collections
import math

import numpy as np

from keras_nonconvex import checks
from keras_nonconvex import macs
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning.removal.removal import Removal


class Costs:
    """Counts of a traced model with some of its classes alone.

    Attributes:
        macs_unknown: The error that says why MACs cannot be counted, or None.
        uncounted: The names of the layers whose MACs are not known.
        full: The costs of the whole model.

    Args:
        trace: A `Trace`.
    """

    def __init__(self, trace):
        self.trace = trace
        self.macs_unknown = None
        # A weight counts for the first layer that holds it.
        self._weights = {}
        for name, layer in trace.layers.items():
            for variable in layer.weights:
                self._weights.setdefault(id(variable), (name, variable))
        self.uncounted = []
        self._kernels = []
        for call in trace.calls:
            name = trace.names[id(call.operation)]
            try:
                found = macs.kernels(call)
            except ValueError as error:
                found = None
                self.macs_unknown = error
            if found is None and name not in self.uncounted:
                self.uncounted.append(name)
            self._kernels += [(name, *one) for one in found or ()]
        self.full = self.total(np.ones(len(trace), dtype=bool))

    def layers(self, keep, gone=()):
        """Layer name -> (params, MACs) with only the kept classes.

        Args:
            keep: One bool per channel id, read at the class roots.
            gone: Names of layers that are removed whole.
        """
        kept = {
            (id(use.variable), use.axis): int(
                use.mask(self.trace.stays(keep, use.ids)).sum()
            )
            for use in self.trace.uses
        }

        def size(variable):
            return math.prod(
                kept.get((id(variable), axis), n)
                for axis, n in enumerate(variable.shape)
            )

        costs = {name: [0, 0] for name in self.trace.layers}
        for name, variable in self._weights.values():
            costs[name][0] += size(variable)
        for name, kernel, times in self._kernels:
            costs[name][1] += size(kernel) * times
        costs.update({name: [0, 0] for name in gone})
        return costs

    def savings(self, key):
        """What each class saves if it goes alone, as `savings` says."""
        uses = collections.defaultdict(list)
        for use in self.trace.uses:
            uses[id(use.variable)].append(use)
        times = collections.Counter()
        for _, kernel, count in self._kernels:
            times[id(kernel)] += count
        saved = np.zeros(len(self.trace))
        for _, variable in self._weights.values():
            share = np.ones(len(self.trace))
            for use in uses[id(variable)]:
                roots = self.trace.root_of[use.ids]
                gone = np.bincount(roots, minlength=len(self.trace))
                share *= 1 - gone / len(roots)
            size = math.prod(variable.shape) * (1 - share)
            saved += size * (1 if key == "params" else times[id(variable)])
        return saved

    def total(self, keep, gone=()):
        """{"params", "macs"} of the whole model; no "macs" if unknown."""
        layers = self.layers(keep, gone).values()
        costs = {"params": sum(params for params, _ in layers)}
        if self.macs_unknown is None:
            costs["macs"] = sum(macs for _, macs in layers)
        return costs


def savings(trace, key="macs"):
    """What a model saves if one class of channels goes and all others stay.

    Args:
        trace: A `Trace`.
        key: `"macs"` or `"params"`. Defaults to `"macs"`.

    Returns:
        An array with one number per channel id, read at the class roots.
    """
    checks.choice("key", key, ["macs", "params"])
    counted = Costs(trace)
    if key == "macs" and counted.macs_unknown is not None:
        raise counted.macs_unknown
    return counted.savings(key)


class BudgetCosts:
    """What a choice of channels costs, in all that a budget speaks of.

    Attributes:
        counted: The `Costs`.
        before: The costs of the whole model.

    Args:
        trace: A `Trace`.
        budget: The budget, a dict.
        superfluous: The `Superfluous` of the trace.
    """

    def __init__(self, trace, budget, superfluous):
        self.trace = trace
        self.superfluous = superfluous
        self.counted = Costs(trace)
        self.measured = [k for k in budget if k in budgets.MEASURES]
        self.before = dict(self.counted.full)
        if "macs" in budget and "macs" not in self.before:
            raise self.counted.macs_unknown
        self.before.update(self._measured(trace.model))

    def __call__(self, keep):
        """The costs of a choice, before whole branches are taken out."""
        costs = self.counted.total(keep)
        if self.measured:
            removal = Removal(self.trace, keep, self.superfluous)
            # Without a model there is nothing to measure: it is chosen anew.
            costs.update(
                dict.fromkeys(self.measured, 0)
                if removal.branches.emptied
                else self._measured(removal.small())
            )
        return costs

    def of(self, removal):
        """The costs of what a removal leaves."""
        costs = self.counted.total(removal.keep, removal.branches.gone)
        costs["params"] += removal.new_parameters()
        if self.measured:
            costs.update(self._measured(removal.small()))
        return costs

    def _measured(self, model):
        return {key: budgets.MEASURES[key](model) for key in self.measured}
