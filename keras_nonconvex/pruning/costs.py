"""What a choice of channels costs: parameters and MACs, layer by layer."""

import math

import numpy as np

from keras_nonconvex import counts


class Costs:
    """Counts of a traced model with some of its classes alone.

    Attributes:
        macs_unknown: The error that says why MACs cannot be counted, or None.
        full: The costs of the whole model.

    Args:
        trace: A `Trace`.
    """

    def __init__(self, trace):
        self.trace = trace
        self.macs_unknown = None
        self._kernels = []
        for call in trace.calls:
            name = trace.names[id(call.operation)]
            try:
                self._kernels += [
                    (name, kernel, times)
                    for kernel, times in counts.kernels(call)
                ]
            except ValueError as error:
                self.macs_unknown = error
        self.full = self.total(np.ones(len(trace), dtype=bool))

    def layers(self, keep, gone=()):
        """Layer name -> (params, MACs) with only the kept classes.

        Args:
            keep: One bool per channel id, read at the class roots.
            gone: Names of layers that are removed whole.
        """
        kept = {
            (id(use.variable), use.axis): int(
                self.trace.stays(keep, use.ids).sum()
            )
            for use in self.trace.uses
        }

        def size(variable):
            return math.prod(
                kept.get((id(variable), axis), n)
                for axis, n in enumerate(variable.shape)
            )

        costs = {
            name: [sum(size(v) for v in layer.weights), 0]
            for name, layer in self.trace.layers.items()
        }
        for name, kernel, times in self._kernels:
            costs[name][1] += size(kernel) * times
        costs.update({name: [0, 0] for name in gone})
        return costs

    def total(self, keep, gone=()):
        """{"params", "macs"} of the whole model; no "macs" if unknown."""
        layers = self.layers(keep, gone).values()
        found = {"params": sum(params for params, _ in layers)}
        if self.macs_unknown is None:
            found["macs"] = sum(macs for _, macs in layers)
        return found
