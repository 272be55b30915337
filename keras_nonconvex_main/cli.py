"""The command line: `keras-nonconvex compress | inspect | prune | export ...`.

Each command's arguments stand above the function that runs it, and that
function imports what it needs: TensorFlow starts with the work. `compress` is
in `compress_cli`, what is about LiteRT files in `export_cli`, and what shows a
run in `phone_cli`.
"""

import argparse
import pathlib
import re
import sys

from keras_nonconvex_main import compress_cli
from keras_nonconvex_main import export_cli
from keras_nonconvex_main import phone_cli
from keras_nonconvex_main.choices import CRITERIA


def main(arguments=None):
    """Runs a command.

    Args:
        arguments: A list of strings, the command and its arguments. Defaults
            to `None`, those of the process.

    Returns:
        The exit code. 0: done. 1: done, but a budget or a limit was not met.
        2: bad input, with one sentence on stderr. 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except _refusals() as error:
        return _refused(error)
    except OSError as error:
        where = f" Received: {error.filename!r}" if error.filename else ""
        return _refused(f"{error.strerror or error}.{where}")
    except KeyboardInterrupt:
        print("\nkeras-nonconvex: interrupted.", file=sys.stderr)
        if options.run is compress_cli.compress:
            print(
                "What is finished is kept, down to the last epoch; the same "
                "command with --resume, without --force, goes on from there.",
                file=sys.stderr,
            )
        return 130


def _refused(error):
    """Says in one line why a command cannot be done."""
    # Those of Keras have several, with colors.
    text = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
    print(f"keras-nonconvex: {text}", file=sys.stderr)
    return 2


def _refusals():
    """The errors that say why a command cannot be done."""
    from keras_nonconvex.datasets import NotAvailable
    from tflite_export import ProfilingNotAvailable

    # Extras are not installed unless one asks for them.
    return ValueError, ModuleNotFoundError, NotAvailable, ProfilingNotAvailable


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line, too."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; --help lists all arguments.\n")


def _parser():
    parser = _Parser(
        prog="keras-nonconvex",
        description="Train with nonconvex group sparsity, remove the zeroed "
        "filters, export the small model for phones.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    compress_cli.add_command(commands)
    _add_inspect(commands)
    _add_prune(commands)
    export_cli.add_commands(commands)
    phone_cli.add_commands(commands)
    return parser


def _add_inspect(commands):
    job = commands.add_parser(
        "inspect",
        help="show counts, zeros and removable channels of a .keras file",
        description="Shows parameters, multiply-adds and exact zeros of each "
        "layer, and which channels can go without a change of the outputs. "
        "Changes nothing.",
    )
    job.add_argument(
        "model", metavar="MODEL.keras", help="the model to look at"
    )
    job.set_defaults(run=_inspect)


def _inspect(options):
    import keras_nonconvex as knc
    from keras_nonconvex import files
    from keras_nonconvex import terminal

    model = files.load_model(options.model)
    console = terminal.console()
    console.print(knc.summary(model).table())
    console.print(knc.pruning.plan(model).table())
    return 0


def _add_prune(commands):
    job = commands.add_parser(
        "prune",
        help="remove channels of a .keras file for real",
        description="Writes a smaller model. Without a budget, only channels "
        "go that change no output. With one (--params, --macs, --channels, "
        "--size, --latency) those of the lowest scores go as well. Exit code "
        "1 if the budget cannot be met.",
    )
    job.add_argument(
        "model",
        metavar="MODEL.keras",
        help="the model to prune; the file stays as it is",
    )
    job.add_argument(
        "out", metavar="OUT.keras", help="where to write the small model"
    )
    job.add_argument(
        "--params", help="how many parameters may remain: 0.5, 50%%, 100000"
    )
    job.add_argument(
        "--macs", help="how many multiply-adds may remain, likewise"
    )
    job.add_argument(
        "--channels", help="how many channels may remain: 0.5, 50%%"
    )
    job.add_argument(
        "--size",
        help="size of the float32 .tflite file: a fraction of now (0.5, "
        "50%%) or bytes (200000)",
    )
    job.add_argument(
        "--latency",
        help="time of the float32 .tflite file on this machine: a fraction "
        "of now (0.5, 50%%) or milliseconds (1.5)",
    )
    job.add_argument(
        "--criterion",
        choices=CRITERIA,
        metavar="CRITERION",
        help=f"which channels go first: one of {', '.join(CRITERIA)} "
        "(default with a budget: group_norm)",
    )
    job.add_argument(
        "--ranking",
        choices=["global", "layer"],
        default="global",
        help="rank all channels together, or remove the same fraction of "
        "each layer (default: global)",
    )
    job.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="pattern of the names of layers that keep all their channels; "
        "may be given again",
    )
    job.add_argument(
        "--min-channels",
        type=int,
        default=1,
        help="at least so many channels of each layer stay (default: 1)",
    )
    job.add_argument(
        "--max-ratio",
        type=float,
        default=1.0,
        help="at most this fraction of each layer is removed (default: 1)",
    )
    job.add_argument(
        "--on-constant",
        choices=["carry", "keep", "fold"],
        default="carry",
        help="superfluous channels may leave constants that a bias cannot "
        "replace exactly at padded borders: let one channel carry those of "
        "the others, keep all of them, or fold them in with a small error "
        "(default: carry)",
    )
    job.add_argument(
        "--select",
        action="store_true",
        help="let a batch normalization drop channels that other layers "
        "still read (pre-activation networks)",
    )
    job.add_argument(
        "--dot",
        metavar="FILE.dot",
        help="also write a drawing of the layers that lose channels together",
    )
    job.add_argument(
        "--round-to",
        type=lambda text: text if text == "auto" else int(text),
        help="channels per layer: a multiple of this, or auto: the fastest of "
        "1, 2, 4, 8, 16 here (default with a budget: 8)",
    )
    job.add_argument(
        "--repair",
        metavar="DATA",
        help="refit what is left to the model given, by least squares on "
        f"these inputs; labels are not needed: {export_cli.DATA}",
    )
    job.add_argument(
        "--force", action="store_true", help="replace an existing file"
    )
    job.set_defaults(run=_prune)


def _prune(options):
    import keras_nonconvex as knc
    import tflite_export
    from keras_nonconvex import files
    from keras_nonconvex import terminal

    console = terminal.console()
    out = pathlib.Path(options.out)
    if out.suffix != ".keras":
        raise ValueError(
            f"The output must end in .keras. Received: {options.out!r}"
        )
    if out.exists() and not options.force:
        raise ValueError(
            "The output file exists; use --force to replace it. "
            f"Received: {options.out!r}"
        )
    budget = {
        key: getattr(options, key)
        for key in ("params", "macs", "channels", "size", "latency")
        if getattr(options, key) is not None
    }
    model = files.load_model(options.model)
    settings = {
        "ranking": options.ranking,
        "min_channels": options.min_channels,
        "max_ratio": options.max_ratio,
        "exclude": options.exclude,
        "on_constant": options.on_constant,
        "select": options.select,
    }
    round_to = options.round_to
    if round_to == "auto":
        if not budget:
            raise ValueError(
                "--round-to auto needs a budget, such as --macs 50%. "
                "Received: none"
            )
        with terminal.bar(console, "Timing each round_to"):
            tuned = tflite_export.tune_round_to(
                model, budget, options.criterion or "group_norm", **settings
            )
        terminal.say(console, str(tuned))
        round_to = tuned.best
    plan = knc.pruning.plan(
        model, options.criterion, budget or None, round_to, **settings
    )
    console.print(plan.table())
    if options.dot:
        files.write_text(pathlib.Path(options.dot), plan.dot())
    small = plan.apply(model)
    if options.repair:
        small, report = knc.repair(small, plan, model, options.repair)
        console.print(report.table())
    files.save_model(small, out)
    if not plan.met:
        print(
            "keras-nonconvex: the budget cannot be met; this is the closest.",
            file=sys.stderr,
        )
        return 1
    return 0
