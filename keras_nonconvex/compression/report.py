"""The HTML page of a run: one file, nothing to fetch."""

import base64
import io
import json

import jinja2
import keras
import matplotlib
import matplotlib.figure
import matplotlib.image
import numpy as np

from keras_nonconvex import files
from keras_nonconvex.pruning import PruningPlan
from keras_nonconvex.version import __version__

_INK, _SOFT = "#1d2733", "#98a3b0"
_DENSE, _SPARSE, _SMALL = "#8896a5", "#c2571a", "#12796b"
_STAGES = {
    "dense": ("dense", _DENSE),
    "sparse": ("sparse training", _SPARSE),
    "fine-tune": ("fine-tuning the small model", _SMALL),
}


def write(folder, recipe, metrics, data):
    """Writes `report.html` into a run folder that has everything else.

    Args:
        folder: The run folder.
        recipe: Its `Recipe`.
        metrics: Its metrics.
        data: The `Images` of the run.
    """
    rows = json.loads((folder / ".state.json").read_text())["history"]
    plan = PruningPlan.from_json((folder / "plan.json").read_text())
    sparse = files.load_model(folder / "sparse.keras")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_nonconvex.compression", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, size=_size)
    page = environment.get_template("report.html.jinja").render(
        recipe=recipe,
        metrics=metrics,
        data=data,
        plan=plan,
        filters=first_filters(sparse, plan),
        accuracy=_svg(_accuracy_figure(rows, recipe)),
        sparsity=_svg(_sparsity_figure(rows, metrics["sparse"])),
        comparisons=_comparisons(metrics),
        version=__version__,
    )
    files.write_text(folder / "report.html", page)


def first_filters(model, plan):
    """[{png, kept, zero}] of the first convolution, or [] without one."""
    kept = {layer.name: layer.keep for layer in plan.layers}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and kept.get(layer.name):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            break
    else:
        return []
    found = []
    for index, stays in enumerate(kept[layer.name]):
        one = kernel[..., index]
        found.append(
            {
                "png": _png(_pixels(one)),
                "kept": stays,
                "zero": not one.any(),
                "layer": layer.name,
            }
        )
    return found


def _pixels(weights):
    """A filter as an RGB image: its own colours, or blue - white - red."""
    scaled = 0.5 + 0.5 * weights / (np.abs(weights).max() or 1.0)
    if weights.shape[2] == 3:
        return scaled
    return matplotlib.colormaps["RdBu_r"](scaled.mean(axis=2))[..., :3]


def _comparisons(metrics):
    """Dense against small: [(what, dense, small, small / dense)]."""
    dense, small = metrics["dense"], metrics["small"]
    files_ = metrics["tflite"]
    before = files_["dense.float32.tflite"]
    after = files_["small.float32.tflite"]
    rows = [
        ("Parameters", dense["params"], small["params"], "{:,}"),
        ("MACs per image", dense["macs"], small["macs"], "{:,}"),
        ("File, float32 (KB)", before["bytes"], after["bytes"], "KB"),
    ]
    if "small.int8.tflite" in files_:
        smallest = files_["small.int8.tflite"]
        rows.append(
            ("File, int8 (KB)", before["bytes"], smallest["bytes"], "KB")
        )
    rows.append(
        (
            "Latency, float32 (ms)",
            before["latency_ms"],
            after["latency_ms"],
            "{:.4f}",
        )
    )
    return [
        {
            "what": what,
            "dense": _format(first, style),
            "small": _format(second, style),
            "ratio": second / first,
        }
        for what, first, second, style in rows
    ]


def _format(value, style):
    return f"{value / 1000:,.1f}" if style == "KB" else style.format(value)


def _accuracy_figure(rows, recipe):
    figure, axes = _figure()
    for stage, (label, colour) in _STAGES.items():
        mine = [row for row in rows if row["stage"] == stage]
        offset = recipe.epochs if stage == "fine-tune" else 0
        axes.plot(
            [offset + row["epoch"] for row in mine],
            [100 * row["val_accuracy"] for row in mine],
            color=colour,
            label=label,
            marker="o",
            markersize=3.5,
        )
    axes.set_ylabel("test accuracy, %")
    axes.legend(frameon=False)
    return figure


def _sparsity_figure(rows, sparse):
    figure, axes = _figure()
    mine = [row for row in rows if row["stage"] == "sparse"]
    epochs = [row["epoch"] for row in mine]
    for key, whole, colour, label in (
        ("zero_filters", "filters", _SPARSE, "filters and units"),
        ("zero_weights", "weights", _INK, "single weights"),
    ):
        axes.plot(
            epochs,
            [100 * row[key] / sparse[whole] for row in mine],
            color=colour,
            label=label,
            marker="o",
            markersize=3.5,
        )
    axes.set_ylabel("exactly zero, %")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    return figure


def _figure():
    figure = matplotlib.figure.Figure(figsize=(5.6, 3.2), layout="tight")
    axes = figure.add_subplot()
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
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


def _png(pixels):
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def _percent(value, digits=1):
    return f"{100 * value:.{digits}f} %"


def _size(count):
    return f"{count / 1000:,.1f} KB"
