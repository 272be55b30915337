"""Selection: which classes go, given scores and what is allowed."""

import collections
import math

import numpy as np

from keras_nonconvex import layer_names
from keras_nonconvex.pruning import budgets


class Selection:
    """Chooses the classes that stay.

    Args:
        trace: A `Trace`.
        scores: One number per id; the lowest go first, -inf the superfluous.
        movable: One bool per id: the classes that may go.
        round_to: As in `plan`. Defaults to `1`.
        min_channels: As in `plan`. Defaults to `1`.
        max_ratio: As in `plan`. Defaults to `1.0`.
        ranking: As in `plan`. Defaults to `"global"`.
    """

    def __init__(
        self,
        trace,
        scores,
        movable,
        round_to=1,
        min_channels=1,
        max_ratio=1.0,
        ranking="global",
    ):
        self.trace = trace
        self.scores = scores
        self.movable = movable
        self.round_to = round_to
        self.min_channels = min_channels
        self.max_ratio = max_ratio
        self.superfluous = movable & np.isneginf(scores)
        self.blocks = self._blocks()
        # Blocks that may lose all of their channels, by their position.
        self.emptied = {
            i
            for i, block in enumerate(self.blocks)
            if not block.fixed
            and (min_channels == 0 or self.superfluous[block.roots].all())
        }
        # Groups of classes of which at least one has to stay.
        self.groups = []
        if min_channels == 1 and max_ratio == 1.0:
            self._share_the_least()
        # Classes that stay whatever their scores are.
        self.held = np.arange(0)
        ranks = scores if ranking == "global" else self._ranks_in_blocks()
        order = np.flatnonzero(movable)
        self.order = order[np.argsort(ranks[order], kind="stable")]

    def _blocks(self):
        fixed = {
            name: sum(
                int((~self.movable[self.trace.root_of[ids]]).sum())
                for ids in arrays
            )
            for name, arrays in self.trace.made.items()
        }
        blocks = []
        for names, roots in self.trace.blocks().items():
            roots = roots[self.movable[roots]]
            if len(roots):
                sizes = {}
                for name in names:
                    ids = np.concatenate(self.trace.made[name])
                    counts = np.bincount(
                        self.trace.root_of[ids], minlength=len(self.trace)
                    )
                    sizes[name] = max(1, int(counts[roots].max()))
                others = {name: fixed[name] for name in names}
                blocks.append(Block(names, roots, sizes, others))
        return blocks

    def _share_the_least(self):
        """One channel of a layer is enough, in whichever of its blocks."""
        made = collections.defaultdict(list)
        for block in self.blocks:
            for name, others in block.others.items():
                # What has to stay is enough for its layer.
                if not others:
                    made[name].append(block.roots)
        alone = {name for name, roots in made.items() if len(roots) == 1}
        for i, block in enumerate(self.blocks):
            whole = all(n % self.round_to == 0 for n in block.others.values())
            if whole and alone.isdisjoint(block.names):
                self.emptied.add(i)
        some = [np.concatenate(roots) for roots in made.values() if roots[1:]]
        # No layer stays for a superfluous channel alone.
        self.groups = [r for r in some if not self.superfluous[r].all()]

    def _ranks_in_blocks(self):
        ranks = np.full(len(self.trace), np.inf)
        for block in self.blocks:
            order = np.argsort(self.scores[block.roots], kind="stable")
            places = (np.arange(len(order)) + 1.0) / len(order)
            ranks[block.roots[order]] = places
        ranks[self.superfluous] = -np.inf
        return ranks

    def hold(self, roots):
        """From now on these classes stay, as if their scores were infinite.

        Args:
            roots: An array of roots.
        """
        self.held = roots
        self.superfluous = self.superfluous.copy()
        self.superfluous[roots] = False
        self.scores = self.scores.copy()
        self.scores[roots] = np.inf
        others = self.order[~np.isin(self.order, roots)]
        self.order = np.concatenate([others, roots])

    def staying(self, roots):
        """Classes that stay without a budget, or may as well.

        These are all but the superfluous, and those where some have to be
        brought back for a layer to be legal.

        Args:
            roots: Superfluous classes that stay, an array of roots.

        Returns:
            One bool per id.
        """
        stays = ~self.superfluous
        keep = stays.copy()
        keep[roots] = True
        for block, missing in self._missing(keep):
            stays[block.roots] |= missing > 0
        return stays

    def keep_some_of(self, groups):
        """From now on one class of each of these groups stays.

        Args:
            groups: Arrays of roots.
        """
        for roots in groups:
            hit = {
                i
                for i in self.emptied
                if np.isin(self.blocks[i].roots, roots).any()
            }
            self.emptied -= hit
            if not hit:
                self.groups.append(roots)

    def dropping(self, count):
        """What stays if the classes of the lowest scores go.

        Args:
            count: How many of them.

        Returns:
            One bool per id.
        """
        keep = np.ones(len(self.trace), dtype=bool)
        keep[self.order[:count]] = False
        return self.legal(keep)

    def legal(self, keep):
        """Brings the best dropped classes back until each layer is legal.

        Args:
            keep: One bool per id: what is to stay.

        Returns:
            One bool per id.
        """
        keep = keep.copy()
        keep[self.held] = True
        for block, missing in self._missing(keep):
            dropped = block.roots[~keep[block.roots]]
            best = np.argsort(-self.scores[dropped], kind="stable")
            keep[dropped[best[:missing]]] = True
        for roots in self.groups:
            if not keep[roots].any():
                keep[roots[np.argmax(self.scores[roots])]] = True
        return keep

    def _missing(self, keep):
        """(block, how many more classes it has to keep), one by one."""
        for i, block in enumerate(self.blocks):
            kept = int(keep[block.roots].sum())
            if kept or i not in self.emptied:
                wanted = block.wanted(
                    kept, self.round_to, self.min_channels, self.max_ratio
                )
                yield block, max(wanted - kept, 0)

    def by_channels(self, fractions):
        """What stays by the budget {"channels": fractions}.

        A class stays if its score is above the one at place int(n percent)
        of all n in order, percent = 1 - fraction: the rule of network
        slimming (Liu et al. 2017).

        Args:
            fractions: A fraction for all layers together, or {layer name
                pattern: fraction} for each layer alone.

        Returns:
            One bool per id.
        """
        keep = ~self.superfluous
        if not isinstance(fractions, dict):
            self._above(keep, self.order, fractions)
            return self.legal(keep)
        for block in self.blocks:
            for pattern, part in fractions.items():
                if any(layer_names.matches(pattern, n) for n in block.names):
                    order = self.order[np.isin(self.order, block.roots)]
                    self._above(keep, order, part)
                    break
        return self.legal(keep)

    def _above(self, keep, order, part):
        percent = 1.0 - budgets.fraction(part)
        place = int(round(len(order) * percent, 6))
        if place >= len(order):
            keep[order] = False
        elif percent > 0:
            # All up to that place go, and all that equal the score there.
            threshold = self.scores[order[place]]
            keep[order[: place + 1]] = False
            ties = order[place + 1 :]
            keep[ties[self.scores[ties] == threshold]] = False

    def within(self, costs, limits):
        """The first choice in order that meets the limits.

        Args:
            costs: Function keep -> costs.
            limits: Absolute limits.

        Returns:
            One bool per id; the closest choice there is where the limits
            cannot be met.
        """
        low, high = int(self.superfluous.sum()), len(self.order)
        while low < high:
            middle = (low + high) // 2
            if budgets.within(costs(self.dropping(middle)), limits):
                high = middle
            else:
                low = middle + 1
        keep = self.dropping(low)
        if set(limits) <= set(budgets.COUNTED):
            self._give_back(keep, costs, limits)
        return keep

    def most(self, allowed):
        """The last choice in order that is allowed, found by bisection.

        Args:
            allowed: Function keep -> bool.

        Returns:
            One bool per id; only what is superfluous goes where nothing else
            is allowed.
        """
        low, high = int(self.superfluous.sum()), len(self.order)
        while low < high:
            middle = (low + high + 1) // 2
            if allowed(self.dropping(middle)):
                low = middle
            else:
                high = middle - 1
        return self.dropping(low)

    def _give_back(self, keep, costs, limits):
        """Fills what rounding has left of the limits, best channels first."""
        left = set(range(len(self.blocks)))
        while left:
            best = {i: self._next(self.blocks[i], keep) for i in sorted(left)}
            left = {i for i in left if len(best[i])}
            for i in sorted(left, key=lambda i: -self.scores[best[i]].max()):
                keep[best[i]] = True
                if not budgets.within(costs(keep), limits):
                    keep[best[i]] = False
                    left.discard(i)

    def _next(self, block, keep):
        """The best dropped classes of a block, up to the next legal number."""
        dropped = block.roots[~keep[block.roots]]
        kept = int(keep[block.roots].sum())
        if not kept:
            return dropped[:0]
        more = block.wanted(kept + 1, self.round_to, 0, 1.0) - kept
        # Superfluous ones at most fill a multiple.
        best = dropped[np.argsort(-self.scores[dropped], kind="stable")][:more]
        some = (~self.superfluous[best]).any()
        return best if some and len(best) == more else best[:0]


class Block:
    """The classes that one set of layers makes together.

    Attributes:
        names: The names of the layers.
        roots: The roots of the classes that may go.
        sizes: {layer name: how many of its channels one class has}.
        others: {layer name: how many further channels have to stay}.
    """

    def __init__(self, names, roots, sizes, others):
        self.names = names
        self.roots = roots
        self.sizes = sizes
        self.others = others

    @property
    def fixed(self):
        """Whether some layer has further channels."""
        return any(self.others.values())

    def wanted(self, kept, round_to, min_channels, max_ratio):
        """How many classes have to stay if `kept` of them are wanted."""
        return min(
            max(
                self._wanted(
                    kept,
                    self.sizes[n],
                    self.others[n],
                    round_to,
                    min_channels,
                    max_ratio,
                )
                for n in self.names
            ),
            len(self.roots),
        )

    def _wanted(self, kept, size, fixed, round_to, min_channels, max_ratio):
        """The same for one layer alone."""
        full = len(self.roots) * size + fixed
        least = max(
            kept * size + fixed,
            min(max(min_channels, 1), full),
            math.ceil(round((1.0 - max_ratio) * full, 6)),
        )
        unit = round_to if fixed else math.lcm(round_to, size)
        channels = math.ceil(least / unit) * unit - fixed
        return math.ceil(channels / size)
