"""What the command lines of experiments have in common."""

import argparse
import pathlib
import shlex
import sys


def parser(text, datasets, networks, penalties, epochs, out):
    """The arguments that every experiment has.

    Args:
        text: A string: what `--help` prints on top, the docstring of the
            script.
        datasets: A tuple of strings: the data sets of the paper. The first
            one is the default; any other name that `datasets.splits` takes is
            taken, too.
        networks: The names of the networks, the first one the default.
        penalties: The names of the penalties, all of which run by default.
        epochs: An integer: the epochs of the paper, the default.
        out: A string or path: the JSON file of the results by default.

    Returns:
        An `argparse.ArgumentParser`, to which a script adds its own.
    """
    made = _Parser(
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--dataset",
        default=datasets[0],
        help=f"{', '.join(datasets)} or other data (default: %(default)s)",
    )
    made.add_argument(
        "--network",
        default=networks[0],
        choices=networks,
        help="(default: %(default)s)",
    )
    made.add_argument(
        "--penalty",
        nargs="+",
        default=list(penalties),
        choices=penalties,
        help="one or several (default: all)",
    )
    made.add_argument(
        "--epochs",
        type=_whole,
        default=epochs,
        help="epochs of a training; the drops of the rate keep their share "
        "of them (default: %(default)s, the paper's)",
    )
    made.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        help="one run for each (default: 0)",
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="the whole of it in minutes: few epochs, a part of the data",
    )
    made.add_argument(
        "--out",
        type=pathlib.Path,
        help="the JSON file of the rows; the table and the figure are written "
        f"next to it (default: {out}, with --quick in the folder of --work)",
    )
    made.add_argument(
        "--work",
        type=pathlib.Path,
        default=pathlib.Path("runs/papers"),
        help="the folder of trained networks and of what a run that was "
        "stopped goes on from (default: %(default)s)",
    )
    made.measured = pathlib.Path(out)
    return made


class _Parser(argparse.ArgumentParser):
    """A quick run leaves the rows that were measured as they are."""

    def parse_known_args(self, args=None, namespace=None):
        found, rest = super().parse_known_args(args, namespace)
        if found.out is None:
            quick = found.work / f"quick-{self.measured.name}"
            found.out = quick if found.quick else self.measured
        return found, rest


def command():
    """The command line by which this process was started.

    Returns:
        A string that a shell takes, from the name of the script on.
    """
    script = pathlib.Path(sys.argv[0])
    folders = pathlib.Path.cwd()
    if script.resolve().is_relative_to(folders):
        script = script.resolve().relative_to(folders)
    return shlex.join(["python", str(script), *sys.argv[1:]])


def _whole(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"must be an integer >= 1. Received: {text}"
        )
    return number
