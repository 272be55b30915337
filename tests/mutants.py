"""Mutants: one-line faults, each of which the suite has to notice.

    make mutants                     all of them
    python tests/mutants.py scad     those whose file or line contains "scad"

Each mutant is tried on a copy of the project: the line is changed, the tests
that the table names are run, and the mutant is killed if one of them fails.
Before that, the same tests must pass on the unchanged copy.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPIED = ("keras_nonconvex", "tflite_export", "tests", "docs")
FILES = ("pyproject.toml", "setup.cfg", "README.md", "CHANGELOG.md", "Makefile")
# What pytest returns when tests ran and some failed.
FAILED = 1


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault in one line.

    Attributes:
        file: Path of the file, from the project's folder.
        old: A piece of text that stands in it once.
        new: What it becomes.
        tests: The arguments of pytest that must kill it.
    """

    file: str
    old: str
    new: str
    tests: str

    def __str__(self):
        return f"{self.file}: {self.old.strip()} -> {self.new.strip()}"

    def applied(self, folder):
        """Writes the fault into a copy; returns the sound text."""
        path = folder / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"A mutant's old text must stand once in {self.file}. "
                f"Received: {self.old!r}, {text.count(self.old)} times"
            )
        path.write_text(text.replace(self.old, self.new))
        return text


MUTANTS = []


def copied(folder):
    """Copies what the tests need into a folder."""
    for name in COPIED:
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def exit_code(folder, tests):
    """What pytest returns for some tests of a copy, and the end it prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        # No bytecode of the sound file may stand for the changed one.
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "quick",
    }
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", *tests.split()),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout[-1500:]


def tried(mutant, folders):
    """Tries one mutant in a free copy; returns what there is to say."""
    folder = folders.get()
    sound = mutant.applied(folder)
    try:
        start = time.monotonic()
        code, end = exit_code(folder, mutant.tests)
        seconds = time.monotonic() - start
    finally:
        (folder / mutant.file).write_text(sound)
        folders.put(folder)
    word = {FAILED: "killed", 0: "SURVIVED"}.get(code, f"BROKEN ({code})")
    print(f"{word:9} {seconds:5.0f} s  {mutant}", flush=True)
    if code not in (0, FAILED):
        print(end, flush=True)
    return code == FAILED


def main(patterns):
    """Tries the mutants that contain one of the patterns; all without any."""
    chosen = [
        mutant
        for mutant in MUTANTS
        if not patterns or any(p in str(mutant).lower() for p in patterns)
    ]
    workers = min(os.cpu_count() or 1, 4)
    with tempfile.TemporaryDirectory() as folder:
        folders = queue.Queue()
        for number in range(workers):
            place = pathlib.Path(folder) / str(number)
            place.mkdir()
            folders.put(copied(place))
        tests = sorted({t for m in chosen for t in m.tests.split()})
        sound = folders.get()
        code, end = exit_code(sound, " ".join(tests))
        folders.put(sound)
        if code != 0:
            print(f"The tests fail without any mutant:\n{end}")
            return 1
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            killed = list(pool.map(lambda m: tried(m, folders), chosen))
    print(f"{sum(killed)} of {len(chosen)} mutants killed")
    return 0 if all(killed) else 1


if __name__ == "__main__":
    sys.exit(main([pattern.lower() for pattern in sys.argv[1:]]))
