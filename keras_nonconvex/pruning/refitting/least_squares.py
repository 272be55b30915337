"""Ridge regression towards a known solution, from streamed rows.

Weights are arrays of shape (groups, features + 1, outputs): W, and the
intercept b as the last row. Groups are independent of each other.
"""

import numpy as np


class Rows:
    """All that a linear regression knows of its rows.

    Attributes:
        count: How many rows were seen.
    """

    count = 0

    def add(self, rows, targets):
        """Takes in a batch.

        Args:
            rows: An array X of shape (groups, rows, features).
            targets: An array Y of shape (groups, rows, outputs).
        """
        ones = np.ones((*rows.shape[:2], 1))
        self.count += rows.shape[1]
        self._add(np.concatenate([rows, ones], axis=-1), targets)

    def ridge(self, toward, strength):
        """The least squares solution, drawn towards another one.

        It minimises ||X W + b - Y||^2 + mu ||W - W0||^2, where mu is
        `strength` times the mean squared norm of X's columns. The intercept b
        is free.

        Args:
            toward: The weights W0.
            strength: A number > 0.
        """
        penalty = self._column_norms()[:, :-1].mean(axis=1, keepdims=True)
        # Where all inputs are zero, the old weights stay.
        penalty = np.where(penalty > 0, strength * penalty, 1.0)
        return toward + self._correction(toward, penalty)

    def error(self, weights):
        """The sum of squares of X W + b - Y, shape (groups, outputs)."""
        raise NotImplementedError

    def variation(self):
        """The sum of squares of Y - mean(Y), shape (groups, outputs)."""
        raise NotImplementedError

    def outputs(self, weights):
        """Mean and variance of X W + b, each of shape (groups, outputs)."""
        raise NotImplementedError


class Moments(Rows):
    """X'X, X'Y and Y'Y in float64: for more rows than features."""

    def __init__(self):
        self._xx = self._xy = self._yy = 0.0

    def _add(self, x, y):
        x, y = x.astype("float64"), y.astype("float64")
        turned = np.swapaxes(x, 1, 2)
        self._xx = self._xx + turned @ x
        self._xy = self._xy + turned @ y
        self._yy = self._yy + (y * y).sum(axis=1)

    def _column_norms(self):
        return np.diagonal(self._xx, axis1=1, axis2=2)

    def _correction(self, toward, penalty):
        features = self._xx.shape[1]
        diagonal = np.repeat(penalty, features, axis=1)
        diagonal[:, -1] = 0
        matrix = self._xx + diagonal[:, :, None] * np.eye(features)
        return np.linalg.solve(matrix, self._xy - self._xx @ toward)

    def error(self, weights):
        squares = (weights * (self._xx @ weights)).sum(axis=1)
        crossed = (weights * self._xy).sum(axis=1)
        return np.maximum(self._yy - 2 * crossed + squares, 0)

    def variation(self):
        # The last feature is the one of the intercept: its products are sums.
        return np.maximum(self._yy - self._xy[:, -1] ** 2 / self.count, 0)

    def outputs(self, weights):
        mean = (self._xx[:, -1:] @ weights)[:, 0] / self.count
        square = (weights * (self._xx @ weights)).sum(axis=1) / self.count
        return mean, np.maximum(square - mean**2, 0)


class Samples(Rows):
    """The rows themselves: for fewer rows than features."""

    def __init__(self):
        self._batches = []

    def _add(self, x, y):
        self._batches.append((x.astype("float32"), y.astype("float32")))

    @property
    def _all(self):
        return (
            np.concatenate(a, axis=1) for a in zip(*self._batches, strict=True)
        )

    def _column_norms(self):
        return sum(
            np.square(x, dtype="float64").sum(axis=1) for x, _ in self._batches
        )

    def _correction(self, toward, penalty):
        # With centred rows the intercept drops out, and the correction is
        # X' (X X' + mu)^-1 (Y - X W0).
        x, y = self._all
        left = y - x @ toward
        middle = x.mean(axis=1, keepdims=True)
        offset = left.mean(axis=1, keepdims=True)
        centred = (x - middle).astype("float64")
        turned = np.swapaxes(centred, 1, 2)
        matrix = centred @ turned + penalty[:, :, None] * np.eye(self.count)
        found = turned @ np.linalg.solve(matrix, left - offset)
        found[:, -1:] = offset - middle[:, :, :-1] @ found[:, :-1]
        return found

    def error(self, weights):
        x, y = self._all
        return np.square(x @ weights - y).sum(axis=1)

    def variation(self):
        _, y = self._all
        return np.square(y - y.mean(axis=1, keepdims=True)).sum(axis=1)

    def outputs(self, weights):
        x, _ = self._all
        found = x @ weights
        return found.mean(axis=1), found.var(axis=1)
