"""Which channels stay to carry the constants of others."""

import numpy as np


def choose(cells, selection, prices):
    """The roots of the classes that have to stay for others, an array.

    A greedy cover: each cell needs one of its carriers. Classes that stay in
    any case come first, then those that serve most cells, then cheap ones.

    Args:
        cells: A list of `Cell`.
        selection: The `Selection`, in which no class is held yet.
        prices: One number per id: what is saved if the class goes.
    """
    open_cells = [
        cell.carriers
        for cell in cells
        if selection.movable[cell.carriers].all()
    ]
    chosen = []
    while open_cells:
        served = np.bincount(
            np.concatenate(open_cells), minlength=len(selection.trace)
        )
        able = np.flatnonzero(served)
        free = selection.staying(chosen)[able]
        order = np.lexsort((prices[able], -served[able], ~free))
        best = able[order[0]]
        chosen.append(best)
        open_cells = [roots for roots in open_cells if best not in roots]
    return np.array(chosen, dtype=int)
