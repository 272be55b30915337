"""Stratified points for the sweeps: every regime, both sides of each threshold.

A prox is a case distinction, and its cases can be narrow: SCAD with a = 100
has one between steps of 99 and 101 knees. Random draws miss those. Here the
cases are sought out: parameters near both ends of their legal range, steps at
and just beside every number at which a rule may change, magnitudes on both
sides of the places where the prox leaves zero and where it jumps. All points
of one penalty are computed in one call.
"""

import dataclasses
import functools
import itertools
import math
import zlib

import numpy as np
from brute_force import critical_group_step
from brute_force import prox

from keras_nonconvex import penalties

# Just beside a number, and on it.
BESIDE = 1.0 + np.array([-1e-3, -1e-9, 0.0, 1e-9, 1e-3])


def generator(name):
    """Random numbers that depend on a name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


# ---- parameters


def legal(field, share):
    """A legal value of a penalty's field: 0 near its low end, 1 near its high.

    Ranges of many decades are passed through by their logarithm.
    """
    low, high = field.metadata["above"], field.metadata["below"]
    if field.metadata["closed"]:
        return low + share * (high - low)
    if math.isinf(high):
        return low + 10.0 ** (6.0 * share - 3.0)
    if low > 0:
        return low * (high / low) ** (1e-3 + 0.998 * share)
    return low + (0.01 + 0.98 * share) * (high - low)


def instances(cls, count=2):
    """The default, each parameter near both its ends, and some random ones."""
    fields, rng = dataclasses.fields(cls), generator(cls.__name__)
    found = [cls()]
    for field, end in itertools.product(fields, (0.0, 1.0)):
        found.append(cls(**{field.name: legal(field, end)}))
    for _ in range(count if fields else 0):
        found.append(cls(**{f.name: legal(f, rng.random()) for f in fields}))
    return list(dict.fromkeys(found))


# ---- steps


def knots(penalty):
    """The numbers at which something may change: plain functions of the
    parameters, and the step at which the objective ceases to be convex.
    """
    numbers = [1.0 if v is None else v for v in dataclasses.astuple(penalty)]
    found = {1.0}
    for a, b in itertools.product(numbers, [*numbers, 1.0]):
        found |= {a, 2.0 * a, a * b, (a - 1.0) * b, (a + 1.0) * b}
    rho = penalty.weak_convexity
    if 0 < rho < math.inf:
        found.add(1.0 / rho)
    return np.array(sorted(k for k in found if 1e-12 < k < 1e12))


def steps(penalty):
    """Steps of all sizes, and at and just beside each knot."""
    return np.unique(
        np.concatenate(
            [
                np.geomspace(1e-9, 1e3, 37),
                np.ravel(np.outer(knots(penalty), BESIDE)),
            ]
        )
    )


# ---- magnitudes


def _located(penalty, step, interval, dtype="float64"):
    """Where something happens along t, for each step: by zooming in.

    `interval` says in which interval of a grid, from the grid and its prox.
    """
    rows = np.arange(len(step))
    low, high = np.full((2, len(step), 1), [[[1e-12]], [[1e12]]])
    for _ in range(5):
        t = low * (high / low) ** np.linspace(0.0, 1.0, 300)
        index = interval(t, prox(penalty, t, step, dtype))
        low, high = t[rows, index, None], t[rows, index + 1, None]
    return high


def _leaves_zero(t, x):
    return np.clip((x == 0).sum(axis=1) - 1, 0, t.shape[1] - 2)


def threshold(penalty, step, dtype="float64"):
    """The magnitudes up to which the prox is 0, one per step."""
    return _located(penalty, step, _leaves_zero, dtype)


def _jumps(t, x):
    rise = np.where(x[:, :-1] > 0, np.diff(x) / t[:, 1:], 0.0)
    return rise.argmax(axis=1)


def magnitudes(penalty, step):
    """Magnitudes for each step: one row per step, sorted.

    On both sides of where the prox leaves zero and of where it jumps, of each
    knot and each knot plus the step, and of all sizes.
    """
    step = step[:, None]
    zero = threshold(penalty, step)
    jump = _located(penalty, step, _jumps)
    near = 1.0 + np.outer([-1, 1], [1e-10, 1e-7, 1e-4, 1e-2, 0.2]).ravel()
    own = knots(penalty)
    own = own[:: max(len(own) // 4, 1)]
    parts = [
        zero * near,
        jump * near,
        np.broadcast_to(own, (len(step), len(own))),
        own + step * (1 - 1e-6),
        own + step * (1 + 1e-6),
        zero + (np.maximum(zero, own.max()) + step) * np.linspace(0, 1, 7),
        np.broadcast_to(np.geomspace(1e-7, 1e4, 23), (len(step), 23)),
    ]
    return np.sort(np.clip(np.concatenate(parts, axis=1), 1e-12, 1e12))


@functools.cache
def scalar_points(cls):
    """All of it for a penalty class: (penalty, magnitudes, steps) each."""
    found = []
    for penalty in instances(cls):
        step = steps(penalty)
        found.append((penalty, magnitudes(penalty, step), step[:, None]))
    return found


# ---- vectors, as columns


def vectors(rng, size, count):
    """Columns with largest entry 1, in all kinds: spread, nearly zero, with
    zeros, with ties for the largest entry and almost with them.
    """
    t = rng.uniform(size=(size, count)) ** rng.choice([0.3, 1, 4], size=count)
    t /= t.max(axis=0)
    kind = rng.integers(0, 5, size=(size, count))
    common = rng.random(count) < 0.5
    t = np.where((kind == 0) & common, 0.0, t)
    t = np.where((kind == 1) & common, 1.0, t)
    t = np.where((kind == 2) & common, 1.0 - 1e-9, t)
    t[rng.integers(0, size, size=count), np.arange(count)] = 1.0
    return t


@functools.cache
def vector_points(cls, sizes=(1, 2, 3, 6)):
    """(penalty, columns, one step per column): the largest entry below, at,
    beside and above the step, and multiples of it by each knot.
    """
    found, rng = [], generator(cls.__name__)
    for penalty, size in itertools.product(instances(cls), sizes):
        ratio = np.concatenate(
            [
                np.ravel(np.outer(knots(penalty), BESIDE)),
                np.geomspace(0.01, 1e3, 30),
            ]
        )
        ratio = np.repeat(ratio, 6)
        step = 10.0 ** rng.uniform(-4, 2, size=(1, len(ratio)))
        t = vectors(rng, size, len(ratio)) * ratio * step
        found.append((penalty, t, step))
    return found


# ---- groups, as columns, with a group term


def joint_steps(penalty):
    """Steps of one call each, because a call follows its largest step: up to
    the critical one, just beyond it, and far; all where there is none.
    """
    rho = penalty.weak_convexity
    if rho == 0 or math.isinf(rho):
        return [np.geomspace(1e-4, 10.0, 9)]
    shares = (
        [1e-4, 0.03, 0.3, 0.7, 0.95, 1 - 1e-3, 1 - 1e-9, 1.0],
        [0.3, 1 + 1e-9, 1 + 1e-3, 1.1, 1.5],
        [0.3, 1 + 1e-3, 3.0, 30.0],
    )
    return [np.array(share) / rho for share in shares]


@functools.cache
def joint_points(cls, sizes=(5, 1, 2, 3)):
    """(penalty, columns, steps, group steps): the largest entry on both sides
    of the threshold, the group step on both sides of where the group dies.
    """
    found, rng = [], generator(cls.__name__)
    regimes = [
        (penalty, joint_steps(penalty)) for penalty in instances(cls, 0)[:3]
    ]
    cases = [(regimes[0][0], step) for step in regimes[0][1]]
    # The rest in turns.
    cases += [(p, s[i % len(s)]) for i, (p, s) in enumerate(regimes[1:])]
    for (penalty, step), size in zip(cases, itertools.cycle(sizes)):
        height = [0.9, 1 - 1e-6, 1 + 1e-6, 1.1, 1.5, 3.0, 20.0]
        share = [0.0, 1e-3, 0.3, 0.9, 1 - 1e-6, 1 + 1e-6, 1.2, 5.0]
        step, height, share = (
            grid.ravel() for grid in np.meshgrid(step, height, share)
        )
        step = step[None]
        vector = isinstance(penalty, penalties.VectorPenalty)
        unit = step if vector else threshold(penalty, step.T).T
        t = vectors(rng, size, step.size) * height * unit
        critical = critical_group_step(penalty, t, step)
        other = 0.1 * np.linalg.norm(t, axis=0)
        group_step = share * np.where(critical > 0, critical, other)
        found.append((penalty, t, step, group_step))
    return found
