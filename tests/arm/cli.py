"""Runs LiteRT files by Arm code and by this machine, and compares."""

import argparse
import importlib.metadata
import pathlib
import platform
import sys

import numpy as np
from rich.console import Console

from arm import comparison
from arm import debian
from arm import images
from arm import machine
from arm import networks
from keras_nonconvex import files
from keras_nonconvex import terminal

# Cores of phones with and without dot products: XNNPACK has other code for
# each.
CPUS = ("cortex-a76", "cortex-a53")
OUT = pathlib.Path("runs/arm")
EXPECTED = "expected.npz"


def main(arguments=None):
    """Compares; returns the exit code.

    0: all files are equal as their rules say, or one sentence says why no
    Arm code runs here. 1: a file differs or does not run. 2: bad input.
    """
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        compare = _on_arm if machine.is_arm() else _under_qemu
        return compare(options, console)
    except debian.Unavailable as reason:
        console.print(f"Skipped: {reason}", highlight=False, soft_wrap=True)
        return 0
    except (machine.Failed, ValueError, OSError) as error:
        print(f"arm: {error}", file=sys.stderr)
        return 1 if isinstance(error, machine.Failed) else 2
    except KeyboardInterrupt:
        print("\narm: interrupted.", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="arm", description=__doc__)
    parser.add_argument(
        "paths",
        nargs="*",
        type=pathlib.Path,
        metavar="PATH",
        help="LiteRT files or folders of such; without any, networks of the "
        f"papers are trained, pruned and exported to {OUT}",
    )
    parser.add_argument(
        "--cpu",
        nargs="+",
        default=CPUS,
        metavar="NAME",
        help=f"processors for qemu; default: {' '.join(CPUS)}",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=24,
        metavar="N",
        help="per file; default: %(default)s",
    )
    parser.add_argument(
        "--cache",
        type=pathlib.Path,
        default=pathlib.Path(".cache/arm"),
        metavar="FOLDER",
        help="where the Arm system is kept; default: %(default)s",
    )
    return parser


def _under_qemu(options, console):
    if options.images < 2:
        raise ValueError(
            "Argument `--images` must be at least 2. "
            f"Received: images={options.images}"
        )
    paths = _files(options.paths)
    with terminal.bar(console, f"Arm system in {options.cache}, made once"):
        root = debian.install(options.cache)
    machines = [machine.emulated(root, cpu) for cpu in options.cpu]
    if not paths:
        (OUT / EXPECTED).unlink(missing_ok=True)
        with terminal.bar(console, "Training, pruning, exporting") as update:
            paths = networks.write(OUT, update)
    batches = [images.for_file(path, options.images) for path in paths]
    expected = _run(machine.this(), paths, batches, console)
    if not options.paths:
        save(paths, batches, expected)
    against = platform.machine()
    return _compare(machines, paths, batches, expected, against, console)


def _on_arm(options, console):
    """Compares with what another machine computed under `_under_qemu`."""
    folder = options.paths[0] if options.paths else OUT
    if len(options.paths) > 1 or not (folder / EXPECTED).is_file():
        raise debian.Unavailable(
            "this is an Arm machine and needs no qemu, but nothing of another "
            "machine is there to compare with: run `make arm` on one and "
            f"copy its {OUT} here"
        )
    paths, batches, expected, against = _load(folder)
    machines = [machine.this()]
    return _compare(machines, paths, batches, expected, against, console)


def save(paths, batches, expected):
    """Keeps what this machine computed for a comparison on an Arm machine."""
    arrays = {"machine": platform.machine()}
    for path, batch, outputs in zip(paths, batches, expected, strict=True):
        arrays[f"images/{path.name}"] = batch
        arrays[f"outputs/{path.name}"] = outputs
    with files.replacing(OUT / EXPECTED) as unfinished:
        np.savez(unfinished, **arrays)


def _load(folder):
    with np.load(folder / EXPECTED) as stored:
        names = [
            key.removeprefix("outputs/")
            for key in stored.files
            if key.startswith("outputs/")
        ]
        return (
            [folder / name for name in names],
            [stored[f"images/{name}"] for name in names],
            [stored[f"outputs/{name}"] for name in names],
            str(stored["machine"]),
        )


def _files(paths):
    found = []
    for path in paths:
        inside = sorted(path.glob("*.tflite")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise ValueError(f"No LiteRT file. Received: path={str(path)!r}")
        found.extend(inside)
    return found


def _run(where, paths, batches, console):
    with terminal.bar(console, where.name, len(paths)) as update:
        return where.run(paths, batches, update)


def _compare(machines, paths, batches, expected, against, console):
    kinds = [comparison.kind(path) for path in paths]
    litert = importlib.metadata.version("ai-edge-litert")
    passed = True
    for where in machines:
        found = _run(where, paths, batches, console)
        results = list(map(comparison.compare, kinds, expected, found))
        title = f"{where.name} against {against}, LiteRT {litert}"
        console.print(comparison.table(title, paths, results))
        passed &= all(result.passed for result in results)
    console.print("Times under qemu say nothing of phones: none are shown.")
    return 0 if passed else 1
