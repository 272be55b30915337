"""Classes of coupled channels: weights of many layers that go as one."""

import collections

import numpy as np
from keras import ops

from keras_nonconvex.tensors import in_full_precision

# A variable and the class of each of its values, in a shape that broadcasts to
# the variable's; the number of classes stands for none.
Part = collections.namedtuple("Part", "variable groups")

# The roles of the weights that make a channel.
OWN = ("filter", "bias", "scale", "shift")


class Classes:
    """The trainable weights of some classes, as if each were one vector.

    Attributes:
        count: The number of classes.
        parts: A list of `Part`.
        variables: The trainable variables that hold their weights.
        sizes: The number of weights of each class, a float32 array.

    Args:
        trace: A `Trace` of the model.
        roots: The roots of the classes, an int array.
        consumers: Whether the slices of kernels that read a channel belong to
            its class. Defaults to `False`.
    """

    def __init__(self, trace, roots, consumers=False):
        self.count = len(roots)
        group_of = np.full(len(trace), self.count)
        group_of[roots] = np.arange(self.count)
        uses = trace.of_role(*OWN)
        if consumers:
            uses += trace.of_role("input", "inner", "through")
        self.parts = [
            Part(use.variable, use.aligned(group_of[trace.root_of[use.ids]]))
            for use in uses
            if use.variable.trainable
            and (group_of[trace.root_of[use.ids]] < self.count).any()
        ]
        self.variables = list(
            {id(p.variable): p.variable for p in self.parts}.values()
        )
        self._places = {id(v): i for i, v in enumerate(self.variables)}
        ones = [np.ones(tuple(v.shape), "float32") for v in self.variables]
        self.sizes = ops.convert_to_numpy(self.totals(ones))

    def totals(self, values):
        """The sum of values over each class.

        Args:
            values: A list with one tensor for each of `variables`.

        Returns:
            A tensor of shape (number of classes,).
        """
        sums = [
            ops.sum(
                values[self._places[id(part.variable)]],
                axis=tuple(
                    i for i, n in enumerate(part.groups.shape) if n == 1
                ),
            )
            for part in self.parts
        ]
        groups = np.concatenate([part.groups.ravel() for part in self.parts])
        return ops.segment_sum(
            ops.concatenate([ops.reshape(total, (-1,)) for total in sums]),
            ops.convert_to_tensor(groups.astype("int32")),
            num_segments=self.count + 1,
        )[: self.count]

    def products(self, first, second):
        """The inner product of two lists of values, for each class.

        Args:
            first: A list with one tensor for each of `variables`.
            second: Another one.

        Returns:
            A tensor of shape (number of classes,).
        """
        pairs = zip(first, second, strict=True)
        return self.totals(
            [in_full_precision(a) * in_full_precision(b) for a, b in pairs]
        )

    def times(self, values, factors, own=False):
        """The values, multiplied by the factors of their classes.

        Args:
            values: A list with one tensor for each of `variables`.
            factors: A tensor of shape (number of classes,).
            own: Whether a weight of two classes (a consumer's) gets the
                factor of the one that makes it alone. Defaults to `False`:
                it gets both.

        Returns:
            A list of tensors in the shapes of `values`.
        """
        factors = ops.concatenate([factors, ops.ones((1,), factors.dtype)])
        parts = self.parts
        if own:
            parts = {id(p.variable): p for p in parts[::-1]}.values()
        products = list(values)
        for part in parts:
            place = self._places[id(part.variable)]
            factor = ops.take(factors, part.groups.astype("int32"))
            value = products[place]
            products[place] = value * ops.cast(factor, value.dtype)
        return products

    def points_and_steps(self, before, now, metrics):
        """Where the prox is taken in an adaptive optimizer's metric.

        A class has one step, the inverse of its mean metric, and moves along
        the optimizer's direction with that step: see `solvers.step_size`.

        Args:
            before: The values before the update, a list with one tensor for
                each of `variables`.
            now: The values after the update, likewise.
            metrics: The metric of each weight, tensors of the same shapes.

        Returns:
            (points, steps): a list of tensors in the shapes of `now`, and a
            tensor of shape (number of classes,).
        """
        metrics = [in_full_precision(m) for m in metrics]
        steps = self.sizes / self.totals(metrics)
        # With consumers, a weight moves with the class that makes it.
        stretches = self.times(metrics, steps, own=True)
        finite = [
            ops.where(ops.isfinite(s), s, ops.ones_like(s)) for s in stretches
        ]
        points = [
            old + (new - old) * ops.cast(stretch, new.dtype)
            for old, new, stretch in zip(before, now, finite, strict=True)
        ]
        return points, steps
