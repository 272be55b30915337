"""An Android app that runs a run's dense and small network side by side."""

import dataclasses
import pathlib
import shutil
from xml.sax import saxutils

from keras_nonconvex import files
from keras_nonconvex import run_folder
from tflite_export import metadata
from tflite_export import runtime
from tflite_export.precisions import PRECISIONS

TEMPLATE = pathlib.Path(__file__).parent / "android"
_MAIN = pathlib.PurePath("app", "src", "main")
CARD = _MAIN / "assets" / "model.properties"
_APP_NAME = _MAIN / "res" / "values" / "name.xml"

# The run folder calls the pruned network small.
_NETWORKS = {"dense": "dense", "pruned": "small"}


def write(run, out, precision=None, force=False):
    """Writes a Gradle project with the networks of a run in its assets.

    The folder is written whole or not at all.

    Args:
        run: str or path. A run folder of `keras_nonconvex.compress`.
        out: str or path. The folder to write.
        precision: str. Which of the run's LiteRT files the app runs. Defaults
            to `None`: "int8" if both networks have it, else the first of
            `tflite_export.precisions.PRECISIONS` that both have and that has
            no caution.
        force: bool. Whether to replace a project that was written before.
            Defaults to `False`.

    Returns:
        The path of the project.
    """
    out, loaded = pathlib.Path(out), run_folder.load(run)
    precision = _precision(loaded, precision)
    models = {
        network: loaded.pairs[precision][stem]
        for network, stem in _NETWORKS.items()
    }
    name = " ".join(loaded.recipe["name"].split())
    card = _card(name, precision, models, loaded.metrics)
    with files.new_folder(out, CARD, force) as project:
        shutil.copytree(
            TEMPLATE,
            project,
            # Left over where the template was opened in place.
            ignore=shutil.ignore_patterns(
                "build", ".gradle", ".idea", ".kotlin", "local.properties"
            ),
        )
        assets = (project / CARD).parent
        assets.mkdir()
        for model in models.values():
            shutil.copyfile(model, assets / model.name)
        files.write_text(project / CARD, _properties(card))
        files.write_text(project / _APP_NAME, _app_name(name))
    return out


def _precision(run, asked):
    preferred = [name for name, one in PRECISIONS.items() if not one.caution]
    # Integer arithmetic is mostly the fastest; the sort is stable.
    preferred.sort(key=lambda name: PRECISIONS[name].activations != "int8")
    for precision in preferred if asked is None else [asked]:
        if precision in run.pairs:
            return precision
    raise ValueError(
        "The app needs dense and small LiteRT files of one precision, and "
        f"this run has {' and '.join(run.pairs) or 'none'}. "
        f"Received: precision={asked!r}"
    )


def _card(name, precision, models, metrics):
    """What the app must know of the networks, as keys and values."""
    facts = {network: _facts(path) for network, path in models.items()}
    if facts["dense"] != facts["pruned"]:
        raise ValueError(
            "The dense and the small file must have the same input, labels "
            f"and normalisation. Received: {str(models['dense'])!r} and "
            f"{str(models['pruned'])!r}"
        )
    (_, height, width, channels), said = facts["dense"]
    card = {
        "name": name,
        "precision": precision,
        "height": height,
        "width": width,
        "channels": channels,
    }
    for key in ("mean", "std"):
        values = getattr(said, key)
        values = values * channels if len(values) == 1 else values
        card[key] = ",".join(map(str, values))
    card["labels"] = len(said.labels)
    for index, label in enumerate(said.labels):
        card[f"label.{index}"] = label
    for network, path in models.items():
        card[f"{network}.file"] = path.name
        card[f"{network}.bytes"] = path.stat().st_size
        known = {
            "accuracy": metrics.get("tflite", {})
            .get(path.name, {})
            .get("accuracy"),
            "macs": metrics.get(_NETWORKS[network], {}).get("macs"),
        }
        for key, value in known.items():
            if value is not None:
                card[f"{network}.{key}"] = value
    return card


def _facts(path):
    """Input shape, labels and normalisation of a file that the app can run."""
    source, target = runtime.ends(runtime.interpreter(path), path)
    shape, scores = source["shape"].tolist(), target["shape"].tolist()
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3):
        raise ValueError(
            "The app feeds images: inputs of shape (1, height, width, 1 or "
            f"3). Received: {tuple(shape)} in {str(path)!r}"
        )
    types = [tensor["dtype"].__name__ for tensor in (source, target)]
    if types != ["float32", "float32"]:
        raise ValueError(
            "The app feeds and reads float32; export with float input and "
            f"output. Received: {' to '.join(types)} in {str(path)!r}"
        )
    said = metadata.read(path)
    if said is None or scores != [1, len(said.labels)]:
        count = len(said.labels) if said else 0
        raise ValueError(
            "The file must carry one label per score "
            "(tflite_export.metadata.write). "
            f"Received: {count} for outputs {tuple(scores)} in {str(path)!r}"
        )
    return shape, dataclasses.replace(said, name="", description="")


def _properties(card):
    """Lines for java.util.Properties."""
    lines = []
    for key, value in card.items():
        text = str(value).replace("\\", "\\\\")
        if text[:1].isspace():
            # Java skips blanks that are not escaped.
            text = "\\" + text
        lines.append(f"{key}={text}\n")
    return "".join(lines)


def _app_name(name):
    # Quotes, @ and ? mean something in Android's resources.
    text = "".join(f"\\{c}" if c in "\\'\"@?" else c for c in name)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<resources>\n'
        f'    <string name="app_name">{saxutils.escape(text)}</string>\n'
        "</resources>\n"
    )
