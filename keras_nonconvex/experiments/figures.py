"""The figures of experiments."""

import pathlib

import matplotlib.figure
import numpy as np

from keras_nonconvex.experiments.table import over_seeds

_COLOURS = ("#12796b", "#c2571a", "#3b5b92", "#8896a5", "#9c3d6d", "#a08a1f")


def curves(path, rows, by, x, panels):
    """Draws what was measured against one setting, a line for each of others.

    Args:
        path: A string or path: the SVG file.
        rows: A list of dicts, those of a `Table`.
        by: A sequence of keys: rows that are alike in these make a line. It
            goes through the means over seeds, and its band shows the smallest
            and largest value.
        x: (key, label) of the horizontal axis.
        panels: The keys of what is drawn, a sequence: a panel for each.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    figure = matplotlib.figure.Figure((4.2 * len(panels), 3.4))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    # What all lines have in common need not be said.
    told = [k for k in by if len({row[k] for row in rows}) > 1] or by[:1]
    for axis, key in zip(axes, panels, strict=True):
        for i, line in enumerate(over_seeds(rows, by)):
            points = sorted(over_seeds(line, [x[0]]), key=lambda p: p[0][x[0]])
            values = [[row[key] for row in point] for point in points]
            at = [point[0][x[0]] for point in points]
            colour = _COLOURS[i % len(_COLOURS)]
            label = ", ".join(str(line[0][k]) for k in told)
            axis.plot(
                at,
                [np.mean(v) for v in values],
                color=colour,
                label=label,
                marker="os^Dv"[i % 5],
                markersize=4,
            )
            low, high = map(min, values), map(max, values)
            axis.fill_between(
                at, list(low), list(high), color=colour, alpha=0.15, lw=0
            )
        axis.set_title(key, fontsize=10)
        axis.set_xlabel(x[1])
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return figure
