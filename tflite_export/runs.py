"""Run folders of `compress`, and folders that are made of them."""

import contextlib
import dataclasses
import json
import pathlib

from keras_nonconvex import files
from tflite_export.conversion import PRECISIONS

# The pruned network's files are called small.
NETWORKS = ("dense", "small")


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        recipe, metrics: What its JSON files hold.
        pairs: {precision: {"dense": path, "small": path}} of the precisions
            that both networks have.
    """

    recipe: dict
    metrics: dict
    pairs: dict


def load(folder):
    """The `Run` in a folder."""
    folder = pathlib.Path(folder)
    found = []
    for name in ("recipe.json", "metrics.json"):
        try:
            found.append(json.loads((folder / name).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"Not a finished run folder: it has no {name}. "
                f"Received: run={str(folder)!r}"
            ) from error
    pairs = {}
    for precision in PRECISIONS:
        pair = {n: folder / f"{n}.{precision}.tflite" for n in NETWORKS}
        if all(path.is_file() for path in pair.values()):
            pairs[precision] = pair
    return Run(*found, pairs)


@contextlib.contextmanager
def writing(out, mark, force):
    """Yields a path for a new folder, which becomes `out` when all went well.

    Args:
        out: The folder to write.
        mark: A file in it, by which `force` knows what it may replace.
        force: Replace a folder that has the mark, or is empty.
    """
    if out.exists():
        if not force:
            raise ValueError(
                "The output folder exists; use --force to replace it. "
                f"Received: out={str(out)!r}"
            )
        empty = out.is_dir() and not any(out.iterdir())
        if not (out / mark).is_file() and not empty:
            raise ValueError(
                "--force replaces what this command wrote, and this is "
                f"something else. Received: out={str(out)!r}"
            )
    with files.replacing(out) as folder:
        yield folder
        if out.exists():  # Goes with the temporary folder.
            out.rename(folder.with_name("replaced"))
