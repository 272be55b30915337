"""Files that are either whole or not there."""

import contextlib
import os
import pathlib
import signal
import tempfile
import threading
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
def uninterrupted():
    """Holds a Ctrl-C back until what is inside is complete."""
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(handler):
        yield
        return
    held = []
    signal.signal(signal.SIGINT, lambda *received: held.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])


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
