"""Recipes as they are written: in files, by name, or of a model alone."""

import importlib.resources
import json
import pathlib

from keras_nonconvex import models


def settings(source, models_too=True):
    """The keys of a recipe as they are written, a dict.

    Args:
        source: A string or path: a JSON file or the name of a recipe that
            ships; or a model, for a recipe of that model alone: a `.keras`
            file or the name of a network of `models`.
        models_too: Whether the source may be a model. Defaults to `True`.
    """
    path = pathlib.Path(source)
    known = shipped()
    if str(source) in known and not path.exists():
        path = known[str(source)]
    elif path.suffix == ".keras" and models_too:
        return {"model": str(source)}
    elif path.suffix == "" and not path.exists():
        if models_too and str(source) in models.NETWORKS:
            return {"model": str(source)}
        listed = ", ".join(known)
        if models_too:
            listed += f"; a .keras file; or one of {', '.join(models.NETWORKS)}"
        raise ValueError(
            f"No such recipe: give a JSON file or one of {listed}. "
            f"Received: {str(source)!r}"
        )
    kinds = "a JSON file" + " or a .keras file" * models_too
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"Cannot read the recipe ({error.strerror}): it must be {kinds}. "
            f"Received: {str(source)!r}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"The recipe is not JSON ({error}): it must be {kinds}. "
            f"Received: {str(source)!r}"
        ) from error
    if not isinstance(made, dict):
        raise ValueError(
            f"A recipe must be a JSON object. Received: {str(source)!r} with "
            f"{made!r:.50}"
        )
    return made


def shipped():
    """{name: path} of the recipes that ship."""
    folder = importlib.resources.files(__package__) / "recipes"
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    return {
        path.name.removesuffix(".json"): path
        for path in paths
        if path.name.endswith(".json")
    }
