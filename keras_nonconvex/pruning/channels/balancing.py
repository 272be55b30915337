"""Grouped convolutions: which channels of their groups go together.

Every group of a convolution has to keep equally many channels. Either whole
groups go, with the filters that read them, or a class has equally many
channels of each group. Which channels these are is free. Where several
convolutions read the same channels in other groups, as behind a channel
shuffle, a class has to be balanced for all of them.
"""

import typing

import numpy as np
from scipy import optimize

# How many branches the search for a small class may have.
_MOST_NODES = 200


class Grouped(typing.NamedTuple):
    """A convolution in groups.

    Attributes:
        use: The `Use` of its kernel's input axis.
        entering: Ids of its input, one row per group.
        leaving: Ids of its filters, one row per group.
    """

    use: object
    entering: np.ndarray
    leaving: np.ndarray

    @property
    def ids(self):
        """All of its ids."""
        return np.concatenate([self.entering.ravel(), self.leaving.ravel()])

    def rows(self):
        """The matrices whose rows have to keep equally many."""
        return [self.entering, self.leaving]


def balance(space, convolutions):
    """Ties the channels of grouped convolutions to the smallest classes.

    Args:
        space: A `ChannelSpace`, whose other ties are all made.
        convolutions: A list of `Grouped`.

    Returns:
        The uses of kernels whose groups go whole: these keep their depth.
    """
    whole = []
    for part in _components(space, convolutions):
        before, found = space.ties, {}
        for tie in (_tie_whole_groups, _tie_balanced):
            tie(space, part)
            found[tie] = _free(space, part), space.ties
            space.ties = before
        best = max(found, key=lambda tie: found[tie][0])
        _, space.ties = found[best]
        if best is _tie_whole_groups:
            whole += [convolution.use for convolution in part]
    return whole


def _components(space, convolutions):
    """Lists of convolutions that have channels in common."""
    parts = []
    for convolution in convolutions:
        roots = set(space.roots(convolution.ids).tolist())
        members = [convolution]
        others = []
        for known, found in parts:
            if known & roots:
                roots, members = known | roots, found + members
            else:
                others.append((known, found))
        parts = [*others, (roots, members)]
    return [members for _, members in parts]


def _free(space, part):
    """How many classes of the inputs may go."""
    frozen = list(space.frozen())
    roots = [np.unique(space.roots(c.entering)) for c in part]
    return sum(np.isin(r, frozen, invert=True).sum() for r in roots)


def _tie_whole_groups(space, part):
    for convolution in part:
        for rows in convolution.rows():
            _tie_rows(space, rows.T)
        space.tie(convolution.entering[:, 0], convolution.leaving[:, 0])


def _tie_rows(space, rows):
    """Ties all rows of a matrix of ids with the first one."""
    for row in rows[1:]:
        space.tie(rows[0], row)


def _tie_balanced(space, part):
    """Ties channels so that each class has equally many of each group."""
    matrices = {}
    for convolution in part:
        for rows in convolution.rows():
            key = rows.shape, space.roots(rows).tobytes()
            matrices.setdefault(key, rows)
    matrices = list(matrices.values())
    for linked in _linked(space, matrices):
        (first, *others) = linked
        if others:
            _tie_smallest(space, linked)
        else:
            _tie_rows(space, first)


def _linked(space, matrices):
    """Lists of matrices that have channels in common."""
    as_parts = [Grouped(None, rows, rows[:, :0]) for rows in matrices]
    return [
        [one.entering for one in part] for part in _components(space, as_parts)
    ]


def _tie_smallest(space, matrices):
    """Ties classes, one small balanced set after the other.

    Classes that have alike many channels in each group are of one kind. What
    balanced sets leave is balanced too.
    """
    roots = np.unique(
        space.roots(np.concatenate([m.ravel() for m in matrices]))
    )
    frozen = np.isin(roots, list(space.frozen()))
    counts = [_counts(space, roots, rows) for rows in matrices]
    kinds, kind_of = np.unique(
        np.column_stack([*counts, frozen]), axis=0, return_inverse=True
    )
    stocks = [roots[kind_of.ravel() == i].tolist() for i in range(len(kinds))]
    # What has to stay is matched with its like, if it can be.
    price = np.where(kinds[:, -1], 0.01, 1.0)
    ends = np.cumsum([c.shape[1] for c in counts])[:-1]
    parts = np.split(kinds[:, :-1], ends, axis=1)
    excess = np.concatenate([(p[:, 1:] - p[:, :1]).T for p in parts])
    while any(stocks):
        left = np.array([len(stock) for stock in stocks])
        taken = _smallest(excess, left, price)
        used = taken > 0
        for _ in range(int((left[used] // taken[used]).min())):
            together = [
                stock.pop(0)
                for stock, count in zip(stocks, taken, strict=True)
                for _ in range(count)
            ]
            space.tie(together[:1] * (len(together) - 1), together[1:])


def _counts(space, roots, rows):
    """How many channels each class has in each group: (classes, groups)."""
    places = [np.searchsorted(roots, space.roots(row)) for row in rows]
    return np.stack([np.bincount(p, minlength=len(roots)) for p in places], 1)


def _smallest(excess, left, price):
    """How many of each kind make a small balanced set.

    min price . n  with  excess n = 0,  0 <= n <= left,  n > 0 for one kind

    Args:
        excess: Per kind how many channels a group has more than the first
            one, a matrix with one row per group.
        left: How many there are of each kind.
        price: A number per kind.

    Returns:
        An int array with a number per kind; all that is left where no small
        set is found soon.
    """
    present = np.flatnonzero(left)
    wanted = present[np.argmin(price[present])]
    found = optimize.milp(
        price,
        integrality=np.ones(len(left)),
        bounds=optimize.Bounds(np.arange(len(left)) == wanted, left),
        constraints=optimize.LinearConstraint(excess, 0, 0),
        options={"node_limit": _MOST_NODES},
    )
    if found.x is None:
        return left
    return np.round(found.x).astype(int)
