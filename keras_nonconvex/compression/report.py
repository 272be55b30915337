"""The HTML page of a run: one file, nothing to fetch."""

import base64
import io

import jinja2
import keras
import matplotlib
import matplotlib.figure
import matplotlib.image
import numpy as np

from keras_nonconvex import files
from keras_nonconvex.pruning import PruningPlan
from keras_nonconvex.run_folder import NETWORKS
from keras_nonconvex.run_folder import tflite_name
from keras_nonconvex.version import __version__

_INK, _SOFT = "#1d2733", "#98a3b0"
_DENSE, _SPARSE, _SMALL = "#8896a5", "#c2571a", "#12796b"
_STAGES = {
    "dense": ("dense", _DENSE),
    "sparse": ("sparse training", _SPARSE),
    "fine-tune": ("fine-tuning the small model", _SMALL),
}


def write(paths, recipe, state, data):
    """Writes the report into a run folder that has everything else.

    Args:
        paths: The `run_folder.Paths` of the run.
        recipe: Its `Recipe`.
        state: Its `State`, with all metrics and the whole history.
        data: The `Images` of the run.
    """
    metrics = state.metrics
    plan = PruningPlan.from_json(paths.plan.read_text())
    sparse = files.load_model(paths.model("sparse"))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_nonconvex.compression", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, size=_size)
    page = environment.get_template("report.html.jinja").render(
        paths=paths,
        recipe=recipe,
        metrics=metrics,
        data=data,
        plan=plan,
        filters=first_filters(sparse, plan),
        accuracy=_svg(_accuracy_figure(state.history, recipe)),
        sparsity=_svg(_sparsity_figure(state.history, metrics["sparse"])),
        comparisons=_comparisons(metrics),
        latency=_latency(metrics),
        version=__version__,
    )
    files.write_text(paths.report, page)


def first_filters(model, plan):
    """The filters of the first convolution, as images.

    Args:
        model: The sparse model.
        plan: Its `PruningPlan`.

    Returns:
        A list of dicts with `png`, `kept`, `zero` and `layer`, one for each
        filter; an empty list for a model without a convolution.
    """
    kept = {layer.name: layer.keep for layer in plan.layers}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and kept.get(layer.name):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            break
    else:
        return []
    filters = []
    for index, stays in enumerate(kept[layer.name]):
        weights = kernel[..., index]
        filters.append(
            {
                "png": _png(_pixels(weights)),
                "kept": stays,
                "zero": not weights.any(),
                "layer": layer.name,
            }
        )
    return filters


def _pixels(weights):
    """A filter as an RGB image: its own colours, or blue - white - red."""
    scaled = 0.5 + 0.5 * weights / (np.abs(weights).max() or 1.0)
    if weights.shape[2] == 3:
        return scaled
    return matplotlib.colormaps["RdBu_r"](scaled.mean(axis=2))[..., :3]


def _comparisons(metrics):
    """Dense against small, as dicts of what, dense, small and their ratio."""
    dense, small = metrics["dense"], metrics["small"]
    before = metrics["tflite"][tflite_name("dense", "float32")]
    after = metrics["tflite"][tflite_name("small", "float32")]
    rows = [
        ("Parameters", dense["params"], small["params"], "{:,}"),
        ("MACs per image", dense["macs"], small["macs"], "{:,}"),
        ("File, float32 (KB)", before["bytes"], after["bytes"], "KB"),
    ]
    smallest = metrics["tflite"].get(tflite_name("small", "int8"))
    if smallest is not None:
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


def _latency(metrics):
    """The small network's latency as a fraction of the dense one's."""
    dense, small = (
        metrics["tflite"][tflite_name(network, "float32")]["latency_ms"]
        for network in NETWORKS
    )
    return small / dense


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
