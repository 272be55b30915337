"""The best point, by brute force: what no prox may be beaten by.

Everything is computed for many problems in one call. Vectors and groups are
columns: points are (size, columns, candidates).
"""

import numpy as np
from keras import ops


def value(penalty, t):
    t = ops.convert_to_tensor(np.asarray(t), "float64")
    return ops.convert_to_numpy(penalty.value(t))


def prox(penalty, t, step, dtype="float64"):
    t = ops.convert_to_tensor(np.asarray(t), dtype)
    return ops.convert_to_numpy(penalty.prox(t, step))


# ---- magnitudes


FRACTIONS = np.unique(
    np.concatenate(
        [
            [0.0],
            np.geomspace(1e-9, 1.0, 40),
            np.linspace(0.0, 1.0, 60),
            1.0 - np.geomspace(1e-9, 0.1, 20),
        ]
    )
)


def least(objective, t, rounds=4):
    """The least objective on [0, t], by a grid that is refined where it is
    least; `objective` takes points along a further axis.
    """
    t = t[..., None]
    points = FRACTIONS * t
    best = np.full(t.shape[:-1], np.inf)
    for _ in range(rounds + 1):
        values = objective(points)
        best = np.minimum(best, values.min(axis=-1))
        index = values.argmin(axis=-1)[..., None]
        points = _closer(points, index)
    return best


# ---- vectors


def search(objective, starts, t, rng):
    """The least objective per column that a search finds: from the `starts`,
    from what is left of `t` above a level, and from its largest entries alone.

    `objective` takes points (size, columns, candidates).
    """
    rank = np.argsort(np.argsort(-t, axis=0, kind="stable"), axis=0)
    scale = t.max(axis=0)[:, None]
    points = [np.stack([np.zeros_like(t), *starts], axis=-1)]
    for count in range(1, len(t) + 1):
        kept = np.where(rank < count, t, 0.0)[..., None]
        levels = kept.max(axis=0) * np.linspace(0.0, 1.0, 12)
        points.append(np.maximum(kept - levels, 0.0))
    least, found = _best(objective, np.concatenate(points, axis=-1))
    for width in np.geomspace(0.3, 1e-7, 14):
        around = np.stack([found, *starts], axis=-1).repeat(4, axis=-1)
        move = width * scale * rng.normal(size=around.shape)
        move *= rng.random(around.shape) < 0.6
        new, point = _best(objective, np.maximum(around + move, 0.0))
        found = np.where(new < least, point, found)
        least = np.minimum(least, new)
    return least


def _best(objective, points):
    """The least objective of each column, and the point where it is."""
    values = objective(points)
    index = values.argmin(axis=-1)[:, None]
    least = np.take_along_axis(values, index, -1)[:, 0]
    return least, np.take_along_axis(points, index[None], -1)[..., 0]


# ---- groups, with a group term


def whole(penalty, t, step, group_step):
    """step * sum_i r(x_i) + group_step * ||x|| + ||x - t||^2 / 2, per column,
    as a function of points (size, columns, candidates).
    """

    def objective(x):
        x = ops.convert_to_tensor(x)
        values = ops.convert_to_numpy(penalty.weights_value(x, (0,)))[0]
        x = ops.convert_to_numpy(x)
        norm = np.sqrt((x**2).sum(axis=0))
        distance = ((x - t[..., None]) ** 2).sum(axis=0) / 2
        return (
            step[0, :, None] * values + group_step[0, :, None] * norm + distance
        )

    return objective


def by_radius(penalty, t, step, group_step, rounds=4):
    """The minimiser of `whole`, by brute force over its norm R.

    ||x|| = min_R (||x||^2 / R + R) / 2, so the best x for a given R has the
    scalar prox in each entry; the whole minimum is that for the best R.
    """
    objective = whole(penalty, t, step, group_step)
    step, group_step = step[..., None], group_step[..., None]
    norm = np.linalg.norm(t, axis=0)[:, None]
    radius = np.unique(
        np.concatenate([np.geomspace(1e-6, 1, 30), np.linspace(0.02, 1, 50)])
    )
    radius = np.maximum(norm * radius, 1e-300)
    best, found = (t**2).sum(axis=0) / 2, np.zeros_like(t)
    for _ in range(rounds + 1):
        share = radius / (radius + group_step)
        x = ops.convert_to_numpy(
            penalty.weights_prox(
                ops.convert_to_tensor(share * t[..., None]),
                ops.convert_to_tensor(share * step),
                (0,),
            )
        )
        values = objective(x)
        index = values.argmin(axis=-1)[:, None]
        least = np.take_along_axis(values, index, -1)[:, 0]
        point = np.take_along_axis(x, index[None], -1)[..., 0]
        found = np.where(least < best, point, found)
        best = np.minimum(best, least)
        radius = _closer(radius, index)
    return best, found


def _closer(points, index):
    """A grid between the two neighbours of the point at `index`."""
    last = points.shape[-1] - 1
    low = np.take_along_axis(points, np.maximum(index - 1, 0), -1)
    high = np.take_along_axis(points, np.minimum(index + 1, last), -1)
    return low + (high - low) * np.linspace(0.0, 1.0, 17)


def critical_group_step(penalty, t, step, rounds=5):
    """The group step from which on 0 is the minimiser, one per column.

    It is the largest (gain of x over 0, but for the group term) / ||x||;
    Dinkelbach's method: the best x for the last ratio gives the next.
    """
    ratio = np.zeros((1, t.shape[1]))
    for _ in range(rounds):
        best, x = by_radius(penalty, t, step, ratio, rounds=1)
        norm = np.linalg.norm(x, axis=0)
        gain = (t**2).sum(axis=0) / 2 - best + ratio[0] * norm
        better = np.where(norm > 0, gain / np.where(norm > 0, norm, 1.0), 0.0)
        ratio = np.maximum(ratio, better)
    return ratio
