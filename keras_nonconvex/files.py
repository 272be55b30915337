"""Files that are either whole or not there."""

import contextlib
import os
import pathlib
import tempfile
import zipfile

import keras


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path that becomes `path` when all went well."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}."
    ) as folder:
        temporary = pathlib.Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def new_folder(out, mark, force):
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
    with replacing(out) as folder:
        yield folder
        if out.exists():  # Goes with the temporary folder.
            out.rename(folder.with_name("replaced"))


def write_text(path, text):
    """Writes a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_model(model, path):
    """Saves a Keras model atomically."""
    with replacing(path) as temporary:
        model.save(temporary)


def load_model(path):
    """Loads a `.keras` file, or says in one sentence why it cannot."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such model file. Received: {str(path)!r}")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(f"Not a .keras model file. Received: {str(path)!r}")
    try:
        return keras.models.load_model(path)
    except (
        TypeError,
        ValueError,
        KeyError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"Keras cannot load this model ({reason}). Received: {str(path)!r}"
        ) from error
