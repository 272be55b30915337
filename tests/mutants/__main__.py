"""Tries the mutants of the table; see the package's docstring."""

import os
import pathlib
import shutil
import sys
import tempfile
import time

from mutants.table import MUTANTS
from mutants.table import ROOT

COPIED = (
    "keras_nonconvex",
    "keras_nonconvex_main",
    "tflite_export",
    "tests",
    "docs",
    "examples",
)
FILES = ("pyproject.toml", "setup.cfg", "README.md", "CHANGELOG.md", "Makefile")
# What pytest returns when tests ran and some failed.
FAILED = 1


def copied(folder):
    """Copies what the tests need into a new folder; returns it."""
    folder.mkdir()
    for name in COPIED:
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def started(folder, tests):
    """Starts pytest on a copy in a fork, which need not import TensorFlow.

    Args:
        folder: The copy. What pytest prints goes to `output.txt` there.
        tests: A list of test files and test ids.

    Returns:
        The process id.
    """
    child = os.fork()
    if child:
        return child
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT)
    os.truncate(output, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    sys.path[:0] = [str(folder), str(folder / "tests")]
    # Scripts that the tests start must find the copy as well.
    os.environ["PYTHONPATH"] = str(folder)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*options, *tests])
    sys.stdout.flush()
    os._exit(int(code))


def end_of(folder):
    return (folder / "output.txt").read_text()[-1500:]


def tried(mutants, folders):
    """Tries mutants, one in each copy at a time; yields (mutant, killed)."""
    waiting, free, running = list(mutants), list(folders), {}
    while waiting or running:
        while waiting and free:
            mutant, folder = waiting.pop(0), free.pop()
            sound = mutant.apply(folder)
            child = started(folder, mutant.tests.split())
            running[child] = mutant, folder, sound, time.monotonic()
        child, status = os.wait()
        mutant, folder, sound, start = running.pop(child)
        (folder / mutant.file).write_text(sound)
        free.append(folder)
        code = os.waitstatus_to_exitcode(status)
        word = {FAILED: "killed", 0: "SURVIVED"}.get(code, f"BROKEN ({code})")
        print(f"{word:9}{time.monotonic() - start:4.0f} s  {mutant}")
        if code not in (0, FAILED):
            print(end_of(folder))
        yield mutant, code == FAILED


def main(words):
    """Tries the mutants that contain one of the words; all without words."""
    chosen = [
        mutant
        for mutant in MUTANTS
        if not words or any(w.lower() in str(mutant).lower() for w in words)
    ]
    with tempfile.TemporaryDirectory() as place:
        count = min(os.cpu_count() or 1, 4)
        folders = [copied(pathlib.Path(place) / str(i)) for i in range(count)]
        tests = sorted({t for mutant in chosen for t in mutant.tests.split()})
        print(f"{len(chosen)} mutants; their tests on the sound code ...")
        _, status = os.waitpid(started(folders[0], tests), 0)
        if os.waitstatus_to_exitcode(status) != 0:
            print(f"Tests fail without any mutant:\n{end_of(folders[0])}")
            return 1
        killed = [dead for _, dead in tried(chosen, folders)]
    print(f"{sum(killed)} of {len(chosen)} mutants killed")
    return 0 if all(killed) else 1


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("HYPOTHESIS_PROFILE", "quick")
    # No bytecode of the sound file may stand for the changed one.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    sys.stdout.reconfigure(line_buffering=True)
    # Imported once here, and inherited by every fork.
    import keras  # noqa: F401
    import pytest

    sys.exit(main(sys.argv[1:]))
