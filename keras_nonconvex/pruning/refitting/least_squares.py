"""Ridge regression from streamed rows, in bounded memory."""

import numpy as np


class Moments:
    """The sums that a linear regression needs: X'X, X'Y and Y'Y, in float64.

    A column of ones is added to X for the intercept. Groups are independent.

    Attributes:
        count: How many rows were seen.
    """

    def __init__(self):
        self.count = 0
        self._xx = self._xy = self._yy = 0.0

    def add(self, rows, targets):
        """Takes in a batch.

        Args:
            rows: An array of shape (groups, rows, features).
            targets: An array of shape (groups, rows, outputs).
        """
        ones = np.ones((*rows.shape[:2], 1))
        x = np.concatenate([rows.astype("float64"), ones], axis=-1)
        y = targets.astype("float64")
        turned = np.swapaxes(x, 1, 2)
        self._xx = self._xx + turned @ x
        self._xy = self._xy + turned @ y
        self._yy = self._yy + (y * y).sum(axis=1)
        self.count += rows.shape[1]

    def ridge(self, toward, strength):
        """The solution of least squares with a ridge towards a solution.

        Minimises ||X W + b - Y||^2 + mu ||W - W0||^2, where mu is `strength`
        times the mean square of X's columns; the intercept b is free.

        Args:
            toward: W0 with b as its last row, (groups, features + 1, outputs).
            strength: A number >= 0.

        Returns:
            An array of the shape of `toward`.
        """
        penalty = np.zeros(self._xx.shape[:2])
        diagonal = np.diagonal(self._xx, axis1=1, axis2=2)[:, :-1]
        penalty[:, :-1] = strength * diagonal.mean(axis=1, keepdims=True)
        # Where all inputs are zero the old kernel stays.
        penalty[:, :-1] += 1e-12 * self.count
        matrix = self._xx + penalty[:, :, None] * np.eye(penalty.shape[1])
        return np.linalg.solve(
            matrix, self._xy + penalty[:, :, None] * toward
        )

    def error(self, weights):
        """The sum of squared residuals, an array of shape (groups, outputs).

        Args:
            weights: W with b as its last row, (groups, features + 1, outputs).
        """
        fitted = np.einsum("gfo,gfo->go", weights, self._xx @ weights)
        crossed = np.einsum("gfo,gfo->go", weights, self._xy)
        return np.maximum(self._yy - 2 * crossed + fitted, 0)

    def variation(self):
        """The sum of squares of the targets around their means."""
        total = self._xy[:, -1]
        return np.maximum(self._yy - total**2 / self.count, 0)

    def of_outputs(self, weights):
        """Mean and variance of what the weights give, (groups, outputs)."""
        mean = np.einsum("gf,gfo->go", self._xx[:, -1], weights) / self.count
        square = np.einsum("gfo,gfo->go", weights, self._xx @ weights)
        return mean, np.maximum(square / self.count - mean**2, 0)
