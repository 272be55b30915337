"""The figures of the page, as SVG text."""

import io
import re

import matplotlib
import matplotlib.figure

from keras_nonconvex.compression.front import COSTS

_INK, _SOFT = "#1d2733", "#98a3b0"
_DENSE, _SPARSE, _SMALL = "#8896a5", "#c2571a", "#12796b"
# Up to so many layers, numbers stand beside each other.
_NUMBERED = 40
_PRECISIONS = ("o", "s", "^", "D", "v")


def training(rows, measure):
    """The measure on validation images after each epoch.

    Args:
        rows: {name of a step: the rows of its epochs}.
        measure: The `Measure`.

    Returns:
        SVG text; "" where nothing was trained.
    """
    rows = {step: mine for step, mine in rows.items() if mine}
    if not rows:
        return ""
    figure, axes = _figure("epoch")
    offset = 0
    for step, mine in rows.items():
        colour = {"dense": _DENSE, "sparse": _SPARSE}.get(step, _SMALL)
        if step.startswith("fine-tune"):
            others = [len(r) for r in rows.values() if r is not mine]
            offset = max(others, default=0)
        axes.plot(
            [offset + row["epoch"] for row in mine],
            [measure.scale * row[f"val_{measure.name}"] for row in mine],
            color=colour,
            label=step,
            marker="o",
            markersize=3.5,
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(measure.axis("validation"))
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


def widths(plan):
    """The network as a row of layers, as high as they have channels.

    Args:
        plan: The `PruningPlan`.

    Returns:
        SVG text; "" where no layer has channels.
    """
    layers = [layer for layer in plan.layers if layer.keep]
    if not layers:
        return ""
    figure, axes = _figure("layer, from the input to the output")
    figure.set_figwidth(11)
    for part, colour, label in (
        (0, "#c9d2da", "before"),
        (1, _SMALL, "after"),
    ):
        heights = [layer.channels[part] for layer in layers]
        # Half of the width above and half below: as one draws a network.
        axes.bar(
            range(len(layers)),
            heights,
            bottom=[-height / 2 for height in heights],
            width=0.72,
            color=colour,
            label=label,
        )
    names = [layer.name for layer in layers]
    axes.set_xticks(range(len(layers)), names, rotation=90, fontsize=7)
    for i, layer in enumerate(layers if len(layers) <= _NUMBERED else ()):
        full, left = layer.channels
        axes.annotate(
            f"{left}/{full}",
            (i, full / 2),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=_INK,
        )
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return _svg(figure)


def fronts(rows, measure):
    """The measure against each cost, one figure each.

    Args:
        rows: As `front.rows` returns them.
        measure: The `Measure`.

    Returns:
        A list of SVG texts. Points that nothing beats are filled.
    """
    # A browser shows the title of what the pointer is at.
    return [
        re.sub(
            rf'<g id="({cost}:([^"]+))">',
            r'<g id="\1"><title>\2</title>',
            _svg(_front(rows, cost, measure)),
        )
        for cost in COSTS
    ]


def _front(rows, cost, measure):
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
            [measure.scale * row[measure.name] for row in best],
            color=colour,
            linewidth=1,
        )
        for row in mine:
            (mark,) = axes.plot(
                row[cost],
                measure.scale * row[measure.name],
                marker=_PRECISIONS[i % len(_PRECISIONS)],
                color=colour,
                fillstyle="full" if row in best else "none",
                linestyle="none",
                label=precision if row is mine[0] else None,
            )
            mark.set_gid(f"{cost}:{row['network']}.{precision}")
    axes.set_xscale("log")
    axes.set_ylabel(measure.axis("test"))
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
