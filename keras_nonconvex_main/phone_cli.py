"""The commands android and demo-page: a run, shown on a phone or in a browser.

As in `cli`, each command's arguments stand above the function that runs it.
"""

import pathlib

from keras_nonconvex_main.choices import PRECISIONS
from keras_nonconvex_main.export_cli import add_force


def add_commands(commands):
    """Adds the commands to those of the program.

    Args:
        commands: What `add_subparsers` of argparse returns.
    """
    _add_android(commands)
    _add_demo_page(commands)


def _add_android(commands):
    job = commands.add_parser(
        "android",
        help="write an Android Studio project with two networks",
        description="Writes an Android Studio project that runs the dense and "
        "a small network side by side: those of a run folder, or any two "
        "LiteRT files with labels in their metadata (--dense, --small).",
    )
    job.add_argument(
        "folder", metavar="RUN", nargs="?", help="run folder of compress"
    )
    job.add_argument("--dense", metavar="FILE.tflite", help="instead of RUN")
    job.add_argument("--small", metavar="FILE.tflite", help="instead of RUN")
    job.add_argument(
        "--out", help="folder to write (default: RUN/android, or ./android)"
    )
    _add_network(job)
    job.add_argument(
        "--precision",
        choices=PRECISIONS,
        metavar="PRECISION",
        help="the files that the app runs (default: int8, else the first "
        "that both networks have)",
    )
    add_force(job, "an existing project")
    job.set_defaults(run=_android)


def _android(options):
    from tflite_export import android_project

    files = options.dense, options.small
    if (options.folder is None) == (files == (None, None)) or (
        options.folder is None and None in files
    ):
        raise ValueError(
            "Give a run folder, or both --dense and --small. Received: "
            f"RUN={options.folder!r}, --dense={files[0]!r}, "
            f"--small={files[1]!r}"
        )
    out = options.out or pathlib.Path(options.folder or ".") / "android"
    if options.folder is None:
        path = android_project.write_files(*files, out, force=options.force)
    else:
        path = android_project.write(
            options.folder,
            out,
            options.precision,
            options.network,
            options.force,
        )
    print(f"Open {path} in Android Studio; its README.md says the rest.")
    return 0


def _add_demo_page(commands):
    job = commands.add_parser(
        "demo-page",
        help="write a web page with both networks of a run folder",
    )
    job.add_argument("folder", metavar="RUN", help="run folder of compress")
    job.add_argument("--out", help="folder to write (default: RUN/page)")
    _add_network(job)
    job.add_argument(
        "--precision",
        nargs="+",
        help="the files among which the visitor chooses (default: all of the "
        "run)",
    )
    job.add_argument(
        "--images",
        type=int,
        default=200,
        help="test images on the page (default: 200)",
    )
    job.add_argument(
        "--litert",
        metavar="NODE_MODULES",
        help="folder with @litertjs/core (default: npm fetches it once)",
    )
    add_force(job, "an existing page")
    job.set_defaults(run=_demo_page)


def _demo_page(options):
    from tflite_export import browser_page

    out = options.out or pathlib.Path(options.folder) / "page"
    path = browser_page.write(
        options.folder,
        out,
        precisions=options.precision,
        images=options.images,
        network=options.network,
        litert=options.litert,
        force=options.force,
    )
    print(
        f"python -m http.server --directory {path.parent}   # then open "
        "http://localhost:8000"
    )
    return 0


def _add_network(job):
    job.add_argument(
        "--network",
        metavar="NAME",
        help="which of the run's small networks (default: the chosen one)",
    )
