"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
import re
import tempfile
import textwrap
import warnings
import zipfile

import keras


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path that becomes `path` when all went well.

    Errors name `path`, not the temporary one.

    Args:
        path: A string or path: the file or folder to make. Its parent folders
            are made, too. A file of that name is replaced.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    parents = "|".join(
        re.escape(f"{parent}{os.sep}")
        for parent in (path.parent.absolute(), path.parent)
    )
    name = re.escape(path.name)
    hidden = rf"({parents})?\.{name}\.\w+([/\\]{name})?"
    with (
        _told(hidden, str(path)),
        tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}."
        ) as folder,
    ):
        temporary = pathlib.Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def scratch():
    """Yields the path of a temporary folder, which errors do not name."""
    with tempfile.TemporaryDirectory() as folder:
        with _told(rf"{re.escape(folder)}[/\\]?", ""):
            yield pathlib.Path(folder)


@contextlib.contextmanager
def _told(hidden, shown):
    """A scope whose errors say `shown` where they match `hidden`."""

    def said(text):
        if not isinstance(text, (str, os.PathLike)):
            return text
        return re.sub(hidden, lambda match: shown, os.fspath(text))

    try:
        yield
    except Exception as error:
        error.args = tuple(map(said, error.args))
        if isinstance(error, OSError):
            if error.errno is not None and error.filename is None and shown:
                # A full disk does not say what had no room.
                error.filename = shown
            for name in ("filename", "filename2"):
                # An error without a file's name says nothing once it is set.
                if getattr(error, name) is not None:
                    setattr(error, name, said(getattr(error, name)))
        raise


@contextlib.contextmanager
def new_folder(out, mark, force):
    """Yields a path for a new folder, which becomes `out` when all went well.

    Args:
        out: A `pathlib.Path`: the folder to make.
        mark: The path, inside `out`, of a file that every folder of this kind
            has. `force` replaces no other folders.
        force: Whether to replace a folder that has the mark or is empty.
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
        if out.exists():
            # It is deleted with the temporary folder.
            out.rename(folder.with_name("replaced"))


def write_text(path, text):
    """Writes a text file in UTF-8, whole or not at all.

    Args:
        path: A string or path.
        text: A string.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_model(model, path):
    """Saves a Keras model, whole or not at all.

    Args:
        model: A Keras model.
        path: A string or path that ends in `.keras`.
    """
    with replacing(path) as temporary:
        model.save(temporary)


def load_model(path):
    """Loads a `.keras` file.

    Args:
        path: A string or path.

    Returns:
        The Keras model.

    Raises:
        ValueError: There is no such file, or Keras cannot load it. The
            message is one sentence.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"No such model file. Received: {str(path)!r}")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(f"Not a .keras model file. Received: {str(path)!r}")
    try:
        with warnings.catch_warnings():
            # A model that was compiled and not trained.
            warnings.filterwarnings(
                "ignore", "Skipping variable loading for optimizer"
            )
            return keras.models.load_model(path)
    except (
        TypeError,
        ValueError,
        KeyError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        unknown = re.search("Could not locate [^.]*", str(error))
        first = str(error).strip().splitlines()[0]
        reason = unknown[0] if unknown else textwrap.shorten(first, 200)
        raise ValueError(
            f"Keras cannot load this model ({reason}). Received: {str(path)!r}"
        ) from error
