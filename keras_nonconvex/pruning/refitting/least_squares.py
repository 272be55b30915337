"""Ridge regression towards a known solution, up to what a ReLU cuts off.

Weights are arrays of shape (groups, features + 1, outputs): W, and the
intercept b as the last row. Groups are independent of each other.
"""

import numpy as np

# Rows that are turned into float64 at once.
_CHUNK = 4096


class Rows:
    """Rows X, and what X W + b + Z is to be: Y where low < Y < high.

    Elsewhere an activation follows that cuts off there, and all that it cuts
    off in the same way is as good:

        error(P) = max(P - low, 0)^2    where Y <= low
                   max(high - P, 0)^2   where Y >= high
                   (P - Y)^2            elsewhere

    Args:
        x: X, an array of shape (groups, rows, features).
        y: Y, an array of shape (groups, rows, outputs).
        others: Z, an array of that shape. Defaults to `0.0`.
        low: A number. Defaults to minus infinity.
        high: A number > `low`. Defaults to infinity.
    """

    def __init__(self, x, y, others=0.0, low=-np.inf, high=np.inf):
        self.x = x
        self.y = y
        self.others = others
        self.low = low
        self.high = high

    def predicted(self, weights):
        """X W + b + Z in float32.

        Args:
            weights: The weights.
        """
        return times(self.x, weights) + self.others

    def aim(self, predicted):
        """The nearest values without an error.

        Args:
            predicted: What is given, an array of the shape of Y.
        """
        y = self.y
        if self.low > -np.inf:
            y = np.where(y <= self.low, np.minimum(predicted, self.low), y)
        if self.high < np.inf:
            cut_off = self.y >= self.high
            y = np.where(cut_off, np.maximum(predicted, self.high), y)
        return y

    def error(self, weights):
        """The sum of squares of what the activation does not hide.

        Args:
            weights: The weights.
        """
        missed = self._passed(self.predicted(weights)) - self._passed(self.y)
        return float(np.square(missed, dtype="float64").sum())

    def variation(self):
        """The sum of squares of Y around its mean, cut off."""
        y = self._passed(self.y)
        spread = y - y.mean(axis=1, keepdims=True, dtype="float64")
        return float(np.square(spread).sum())

    def _passed(self, values):
        return np.clip(values, self.low, self.high)

    def fitted(self, toward, strength, judge=None, rounds=6):
        """The weights of least error, drawn towards others.

        They minimise error(X W + b + Z) + mu ||W - W0||^2, where mu is
        `strength` times the mean squared norm of X's columns. The intercept b
        is free. Each round solves the linear problem for the aims that the
        one before left (a majorization), with Nesterov's momentum.

        Args:
            toward: The weights W0.
            strength: A number > 0.
            judge: Other `Rows`. Of `strength` and its multiples by 10, 100
                and 1000 that one counts with the least error on them, before
                the rounds. Defaults to `None`: `strength` alone.
            rounds: How many linear problems follow the first one where
                something is cut off, an int >= 0. Defaults to `6`.
        """
        ridge = Ridge(self.x)
        given = self.predicted(toward)
        found, solver, least = toward, None, np.inf
        for factor in (1, 10, 100, 1000) if judge else (1,):
            other = ridge.solver(factor * strength)
            tried = toward + other(self.y - given)
            error = judge.error(tried) if judge else 0.0
            if not error < least:
                break
            found, solver, least = tried, other, error
        if solver is None or (self.low == -np.inf and self.high == np.inf):
            return found
        before = found
        for i in range(rounds):
            ahead = found + max(i - 1, 0) / (i + 2) * (found - before)
            aim = self.aim(self.predicted(ahead))
            before, found = found, toward + solver(aim - given)
        return found


class Ridge:
    """Solves min ||X V + b - R||^2 + mu ||V||^2 for several R and mu.

    Args:
        x: X, an array of shape (groups, rows, features).
    """

    def __init__(self, x):
        self.x = x
        groups, rows, features = x.shape
        self._mean = x.mean(axis=1, keepdims=True, dtype="float64")
        self._norms = np.zeros((groups, 1, 1))
        self._dual = rows < features
        if self._dual:
            centred = x - self._mean
            self._norms[:, 0, 0] = np.square(x, dtype="float64").sum((1, 2))
            self._matrix = centred @ np.swapaxes(centred, 1, 2)
        else:
            self._matrix = np.zeros((groups, features, features))
            for part in _chunks(rows):
                chunk = x[:, part].astype("float64")
                self._norms[:, 0, 0] += np.square(chunk).sum((1, 2))
                chunk -= self._mean
                self._matrix += np.swapaxes(chunk, 1, 2) @ chunk

    def solver(self, strength):
        """A function of R, an array of shape (groups, rows, outputs).

        It returns V, and b as the last row.

        Args:
            strength: A number: mu by the mean squared norm of X's columns.
        """
        penalty = strength / self.x.shape[2] * self._norms
        # Where all inputs are zero, the old weights stay.
        penalty[penalty == 0] = 1.0
        size = self._matrix.shape[-1]
        inverse = np.linalg.inv(self._matrix + penalty * np.eye(size))

        def solve(r):
            offset = r.mean(axis=1, keepdims=True, dtype="float64")
            r = r - offset.astype(r.dtype)
            if self._dual:
                found = self._turned_times(inverse @ r)
            else:
                found = inverse @ self._turned_times(r)
            intercept = offset - self._mean @ found
            return np.concatenate([found, intercept], axis=1)

        return solve

    def _turned_times(self, r):
        """(X - mean)' R."""
        total = 0.0
        for part in _chunks(r.shape[1]):
            rest = r[:, part].astype(self.x.dtype, copy=False)
            total = total + np.swapaxes(self.x[:, part], 1, 2) @ rest
        turned = np.swapaxes(self._mean, 1, 2)
        return total - turned * r.sum(axis=1, keepdims=True, dtype="float64")


def times(x, weights):
    """X W + b.

    Args:
        x: X, an array of shape (groups, rows, features).
        weights: The weights.
    """
    weights = weights.astype(x.dtype)
    return x @ weights[:, :-1] + weights[:, -1:]


def _chunks(rows):
    return (slice(i, i + _CHUNK) for i in range(0, rows, _CHUNK))
