"""The commands export, parity, benchmark, android and demo-page.

As in `cli`, functions that do the work import what it needs.
"""

import pathlib

from keras_nonconvex_main.choices import CALIBRATED
from keras_nonconvex_main.choices import DATA
from keras_nonconvex_main.choices import PRECISIONS

# How many samples set the ranges of activations, and how many inputs
# `parity --layers` compares.
_REPRESENTATIVE, _COMPARED = 300, 8


def add_commands(commands):
    """Adds this package's commands to those of an argparse parser."""
    _add_export(commands)
    _add_parity(commands)
    _add_benchmark(commands)


def _add_export(commands):
    job = commands.add_parser(
        "export",
        help="write .tflite files of a .keras file",
        description="Writes LiteRT files with batch size 1 and builtin "
        "operations only. Labels come from --labels or the data set.",
    )
    job.add_argument("model", metavar="MODEL.keras", help="the model to write")
    job.add_argument(
        "--out",
        help="file, with {precision} in its name if there are several "
        "(default: MODEL.{precision}.tflite)",
    )
    job.add_argument(
        "--precision",
        nargs="+",
        default=["float32"],
        choices=PRECISIONS,
        metavar="PRECISION",
        help=f"one or several of {', '.join(PRECISIONS)} (default: float32)",
    )
    job.add_argument(
        "--data",
        help=f"for {' and '.join(CALIBRATED)}, and labels: {DATA}",
    )
    job.add_argument(
        "--io",
        default="float32",
        help="input and output type of quantized files: float32, int8 or "
        "uint8 with int8, int16 with int16x8 (default: float32)",
    )
    job.add_argument(
        "--batch-size",
        type=int,
        default=1,
        help="batch size of the file (default: 1)",
    )
    job.add_argument("--labels", help="a text file with one class name a line")
    for name, default in (("mean", 0), ("std", 255)):
        job.add_argument(
            f"--{name}",
            type=float,
            nargs="+",
            help="the network takes (pixel - mean) / std, pixels 0 to 255; "
            "one number or one per channel (default: what its first layers "
            f"say, else {default})",
        )
    add_force(job, "an existing file")
    job.set_defaults(run=_export)


def _export(options):
    from keras_nonconvex import datasets
    from keras_nonconvex import files
    from keras_nonconvex import terminal
    from tflite_export import metadata
    from tflite_export.conversion import convert

    model = files.load_model(options.model)
    path = options.out or str(
        pathlib.Path(options.model).with_suffix(".{precision}.tflite")
    )
    if len(options.precision) > 1 and "{precision}" not in path:
        raise ValueError(
            "--out must contain {precision} where there are several. "
            f"Received: --out {path}"
        )
    for precision in options.precision:
        one = pathlib.Path(path.replace("{precision}", precision))
        if one.exists() and not options.force:
            raise ValueError(
                "The output file exists; use --force to replace it. "
                f"Received: {str(one)!r}"
            )
    labels, samples = (), None
    if options.data:
        shape = model.input_shape[1:]
        data = datasets.load(options.data, shape, _REPRESENTATIVE)
        samples, labels = data.x_train, data.classes
        if len(labels) != model.output_shape[-1]:
            labels = ()
    if options.labels:
        text = pathlib.Path(options.labels).read_text(encoding="utf-8")
        labels = text.splitlines()
    described = metadata.Metadata(
        labels, options.mean, options.std, name=model.name
    ).completed(model)
    calibrated = [name for name in options.precision if name in CALIBRATED]
    if calibrated and samples is None:
        raise ValueError(
            "--data must give images that set the ranges of activations for "
            f"{' and '.join(calibrated)}. Received: none"
        )
    console = terminal.console()
    with terminal.bar(console, f"{', '.join(options.precision)}: convert"):
        convert(
            model,
            path,
            options.precision,
            _network_input(model, samples, described) if calibrated else None,
            io=options.io,
            batch_size=options.batch_size,
            metadata=described,
            isolate=True,
            progress=lambda made: terminal.say(console, str(made)),
        )
    return 0


def _add_parity(commands):
    job = commands.add_parser(
        "parity",
        help="compare .tflite files with their .keras file",
        description="Exit code 1 if a file is beyond the limits of its "
        "precision.",
    )
    job.add_argument(
        "model", metavar="MODEL.keras", help="the model they were made of"
    )
    job.add_argument(
        "files", nargs="+", metavar="FILE.tflite", help="the files to compare"
    )
    job.add_argument("--data", required=True, help=DATA)
    job.add_argument(
        "--samples", type=int, default=1000, help="inputs (default: 1000)"
    )
    job.add_argument(
        "--layers",
        action="store_true",
        help="also show where a file drifts away, layer by layer",
    )
    job.set_defaults(run=_parity)


def _parity(options):
    from keras_nonconvex import checks
    from keras_nonconvex import datasets
    from keras_nonconvex import files
    from keras_nonconvex import terminal
    from tflite_export import drift
    from tflite_export import metadata
    from tflite_export.parity import check_parity

    checks.whole("--samples", options.samples, 1)
    model = files.load_model(options.model)
    shape = model.input_shape[1:]
    data = datasets.load(options.data, shape, options.samples)
    images = data.x_test
    labels = data.y_test if _decides(model) else None
    console = terminal.console()
    met = True
    for path in options.files:
        x = _network_input(model, images, metadata.read(path))
        with terminal.bar(console, f"{path}: check", len(x)) as update:
            parity = check_parity(model, path, x, labels, progress=update)
        terminal.say(console, str(parity))
        met &= parity.met
        if options.layers:
            rows = drift.compare_layers(model, path, x[:_COMPARED])
            console.print(drift.table(path, rows))
    return 0 if met else 1


def _decides(model):
    """Whether labels can be right or wrong for a model."""
    from keras_nonconvex import outputs

    return all(output.decides for output in outputs.of(model))


def _add_benchmark(commands):
    job = commands.add_parser(
        "benchmark",
        help="time .tflite files side by side",
        description="Interleaved runs at the file's batch size, on this "
        "machine's CPU; a phone differs.",
    )
    job.add_argument(
        "files", nargs="+", metavar="FILE.tflite", help="the files to time"
    )
    job.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="FILE.tflite",
        help="files to compare with; the last file given is the baseline of "
        "the ratios",
    )
    job.add_argument(
        "--runs",
        type=int,
        default=500,
        help="timed runs of each file (default: 500)",
    )
    job.add_argument(
        "--warmup",
        type=int,
        default=50,
        help="untimed runs of each file before them (default: 50)",
    )
    job.add_argument(
        "--threads", type=int, default=1, help="CPU threads (default: 1)"
    )
    job.add_argument(
        "--amx",
        action="store_true",
        help="use Intel's matrix unit, which phones do not have",
    )
    job.add_argument(
        "--ops", action="store_true", help="also the time of each operation"
    )
    job.add_argument("--json", metavar="FILE", help="write the figures, too")
    job.set_defaults(run=_benchmark)


def _benchmark(options):
    from keras_nonconvex import files
    from keras_nonconvex import terminal
    from tflite_export import profiling
    from tflite_export import timing

    console = terminal.console()
    paths = [*options.files, *options.against]
    settings = {"threads": options.threads, "amx": options.amx}
    with terminal.bar(console, "Interleaved runs", options.runs) as update:
        timings = timing.benchmark(
            paths[0],
            paths[1:],
            runs=options.runs,
            warmup=options.warmup,
            progress=update,
            **settings,
        )
    console.print(timing.table(timings))
    if options.json:
        files.write_text(options.json, timing.to_json(timings))
    if options.ops:
        for path in paths:
            console.print(f"[bold]{path}")
            for row in profiling.profile(path, **settings):
                terminal.say(console, str(row))
    return 0


def add_force(job, what):
    job.add_argument("--force", action="store_true", help=f"replace {what}")


def _network_input(model, images, described):
    """Images in [0, 1] as the network takes them."""
    import numpy as np

    from keras_nonconvex import ranges

    takes = ranges.of(model)[0]
    if takes or described is None or images.ndim != 4:
        return ranges.suited("--data", images, takes, ranges.UNIT)
    images = ranges.suited("--data", images, ranges.UNIT)
    mean, std = np.array(described.mean), np.array(described.std)
    return ((255 * images - mean) / std).astype("float32")
