"""The figures of the page, as SVG text."""

import io
import re

import matplotlib
import matplotlib.figure

from keras_nonconvex.compression.front import COSTS

_INK, _SOFT = "#1d2733", "#98a3b0"
_DENSE, _SPARSE, _SMALL = "#8896a5", "#c2571a", "#12796b"
_PRECISIONS = ("o", "s", "^", "D", "v")


def accuracy(rows):
    """The accuracy on validation images after each epoch.

    Args:
        rows: {name of a step: the rows of its epochs}.

    Returns:
        SVG text; "" where nothing was trained.
    """
    if not any(rows.values()):
        return ""
    figure, axes = _figure("epoch")
    offset = 0
    for step, mine in rows.items():
        colour = {"dense": _DENSE, "sparse": _SPARSE}.get(step, _SMALL)
        if step.startswith("fine-tune"):
            offset = max(len(r) for r in rows.values() if r is not mine)
        axes.plot(
            [offset + row["epoch"] for row in mine],
            [100 * row["val_accuracy"] for row in mine],
            color=colour,
            label=step,
            marker="o",
            markersize=3.5,
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("validation accuracy, %")
    axes.legend(frameon=False)
    return _svg(figure)


def sparsity(rows, sparse):
    """What is zero after each epoch of the sparse training.

    Args:
        rows: The rows of its epochs.
        sparse: The metrics of the sparse network, or None.

    Returns:
        SVG text; "" where there was no sparse training.
    """
    if not sparse:
        return ""
    figure, axes = _figure("epoch")
    for key, whole, colour, label in (
        ("zero_filters", "filters", _SPARSE, "filters and units"),
        ("zero_weights", "weights", _INK, "single weights"),
    ):
        axes.plot(
            [row["epoch"] for row in rows],
            [100 * row[key] / sparse[whole] for row in rows],
            color=colour,
            label=label,
            marker="o",
            markersize=3.5,
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("exactly zero, %")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    return _svg(figure)


def fronts(rows):
    """Accuracy against each cost, one figure each.

    Args:
        rows: As `front.rows` returns them.

    Returns:
        A list of SVG texts. Points that nothing beats are filled.
    """
    # A browser shows the title of what the pointer is at.
    return [
        re.sub(
            rf'<g id="({cost}:([^"]+))">',
            r'<g id="\1"><title>\2</title>',
            _svg(_front(rows, cost)),
        )
        for cost in COSTS
    ]


def _front(rows, cost):
    figure, axes = _figure(COSTS[cost])
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    colours = matplotlib.colormaps["viridis"]
    for i, precision in enumerate(precisions):
        mine = [row for row in rows if row["precision"] == precision]
        mine.sort(key=lambda row: row[cost])
        colour = colours(i / max(len(precisions), 2))
        best = [row for row in mine if row[f"unbeaten_by_{cost}"]]
        axes.plot(
            [row[cost] for row in best],
            [100 * row["accuracy"] for row in best],
            color=colour,
            linewidth=1,
        )
        for row in mine:
            (mark,) = axes.plot(
                row[cost],
                100 * row["accuracy"],
                marker=_PRECISIONS[i % len(_PRECISIONS)],
                color=colour,
                fillstyle="full" if row in best else "none",
                linestyle="none",
                label=precision if row is mine[0] else None,
            )
            mark.set_gid(f"{cost}:{row['network']}.{precision}")
    axes.set_xscale("log")
    axes.set_ylabel("test accuracy, %")
    axes.legend(frameon=False)
    return figure


def _figure(x):
    figure = matplotlib.figure.Figure(figsize=(5.6, 3.2), layout="tight")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.tick_params(colors=_INK)
    axes.grid(axis="y", color="#e6eaee")
    return figure, axes


def _svg(figure):
    text = io.StringIO()
    # Text stays text, and equal runs give equal files.
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "knc", "font.size": 10}
    ):
        figure.savefig(
            text,
            format="svg",
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
