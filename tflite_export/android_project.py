"""An Android app that runs a run's dense and small network side by side."""

import dataclasses
import pathlib
import shutil
from xml.sax import saxutils

from keras_nonconvex import files
from keras_nonconvex import run_folder
from tflite_export import flatfile
from tflite_export import metadata
from tflite_export import precisions
from tflite_export import runtime

TEMPLATE = pathlib.Path(__file__).parent / "android"
_MAIN = pathlib.PurePath("app", "src", "main")
CARD = _MAIN / "assets" / "model.properties"
_APP_NAME = _MAIN / "res" / "values" / "name.xml"

# What the app calls the two networks.
_NETWORKS = ("dense", "pruned")


def write(run, out, precision=None, network=None, force=False):
    """Writes a Gradle project with two networks of a run in its assets.

    The folder is written whole or not at all.

    Args:
        run: str or path. A run folder of `keras_nonconvex.compress`.
        out: str or path. The folder to write.
        precision: str. Which of the run's LiteRT files the app runs. Defaults
            to `None`: "int8" if both networks have it, else the first of
            `tflite_export.precisions.PRECISIONS` that both have and that has
            no caution.
        network: str. Which of the run's small networks stands beside the
            dense one. Defaults to `None`: the one that the run has chosen.
        force: bool. Whether to replace a project that was written before.
            Defaults to `False`.

    Returns:
        The path of the project.
    """
    loaded = run_folder.load(run, network)
    loaded.check_classifier()
    precision = _precision(loaded, precision)
    pair = loaded.pairs[precision]
    models = dict(zip(_NETWORKS, (pair["dense"], pair["small"]), strict=True))
    card = _card(loaded.recipe["name"], precision, models, loaded.fit)
    for key, stem in zip(_NETWORKS, ("dense", loaded.network), strict=True):
        file = loaded.metrics.get("tflite", {}).get(models[key].name, {})
        known = {
            "accuracy": file.get("accuracy"),
            "macs": loaded.metrics.get(stem, {}).get("macs"),
        }
        for name, value in known.items():
            if value is not None:
                card[f"{key}.{name}"] = value
    return _write(card, models, out, force)


def write_files(dense, small, out, name=None, force=False):
    """Writes a Gradle project with two LiteRT files in its assets.

    Files do not say how images of other proportions got their size: the app
    cuts the middle out, unless `fit` in `model.properties` is changed.

    Args:
        dense: str or path. A `.tflite` file that `tflite_export.convert` or
            another tool wrote, with labels and normalisation in its metadata.
        small: str or path. Another one for the same images and classes.
        out: str or path. The folder to write.
        name: str. What the app is called. Defaults to `None`: the name of the
            small file.
        force: bool. Whether to replace a project that was written before.
            Defaults to `False`.

    Returns:
        The path of the project.
    """
    models = {
        key: pathlib.Path(path)
        for key, path in zip(_NETWORKS, (dense, small), strict=True)
    }
    for argument, path in zip(("dense", "small"), models.values(), strict=True):
        if not path.is_file():
            raise ValueError(
                f"No such file. Received: {argument}={str(path)!r}"
            )
    name = name or models["pruned"].name.removesuffix(".tflite")
    precision = " / ".join(
        dict.fromkeys(
            precisions.recognised(flatfile.read(path))
            for path in models.values()
        )
    )
    return _write(_card(name, precision, models, "crop"), models, out, force)


def _write(card, models, out, force):
    out = pathlib.Path(out)
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
        for network, model in models.items():
            shutil.copyfile(model, assets / card[f"{network}.file"])
        files.write_text(project / CARD, _properties(card))
        files.write_text(project / _APP_NAME, _app_name(card["name"]))
    return out


def _precision(run, asked):
    preferred = [
        name for name, one in precisions.PRECISIONS.items() if not one.caution
    ]
    # Integer arithmetic is mostly the fastest; the sort is stable.
    preferred.sort(
        key=lambda name: precisions.PRECISIONS[name].activations != "int8"
    )
    for precision in preferred if asked is None else [asked]:
        if precision in run.pairs:
            return precision
    raise ValueError(
        "The app needs dense and small LiteRT files of one precision, and "
        f"this run has {' and '.join(run.pairs) or 'none'}. "
        f"Received: precision={asked!r}"
    )


def _card(name, precision, models, fit):
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
        "name": " ".join(name.split()),
        "precision": precision,
        "height": height,
        "width": width,
        "channels": channels,
        "fit": fit,
    }
    for key in ("mean", "std"):
        values = getattr(said, key)
        values = values * channels if len(values) == 1 else values
        card[key] = ",".join(map(str, values))
    card["labels"] = len(said.labels)
    for index, label in enumerate(said.labels):
        card[f"label.{index}"] = label
    # Two files of one name, from two folders, need names of their own.
    same = models["dense"].name == models["pruned"].name
    for network, path in models.items():
        card[f"{network}.file"] = (
            f"{network}.{path.name}" if same else path.name
        )
        card[f"{network}.bytes"] = path.stat().st_size
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
