"""The command compress: small networks of one."""

import sys

from keras_nonconvex_main.choices import DATA
from keras_nonconvex_main.choices import POLICIES
from keras_nonconvex_main.choices import PRECISIONS
from keras_nonconvex_main.choices import RECIPES
from keras_nonconvex_main.choices import STRATEGIES


def add_command(commands):
    """Adds the command to those of the program.

    Args:
        commands: What `add_subparsers` of argparse returns.
    """
    job = commands.add_parser(
        "compress",
        help="make small networks: from data to .tflite files and a report",
        description="Makes small networks of one: trained or given dense "
        "network, removal of channels, repair, fine-tuning, LiteRT files, "
        "report.html. All settings may stand in a recipe; those given here "
        "replace them.",
    )
    job.add_argument(
        "recipe",
        metavar="MODEL|RECIPE",
        help="a .keras file, the name of a network of knc.models, a JSON "
        f"file, or a recipe that ships: {', '.join(RECIPES)}",
    )
    what = job.add_argument_group("what")
    what.add_argument("--data", help=f"{DATA} (default: the recipe's)")
    what.add_argument(
        "--size",
        type=int,
        help="height and width of the images of a network with a name "
        "(default: those of the data)",
    )
    half = " (default for a model: 50%%)"
    for key, counted in (("macs", "multiply-adds"), ("params", "parameters")):
        what.add_argument(
            f"--{key}",
            nargs="+",
            metavar="SHARE",
            help=f"how many {counted} may remain: 50%%, 0.5 or a number; "
            "several make several small networks" + half * (key == "macs"),
        )
    what.add_argument(
        "--front",
        type=int,
        metavar="N",
        help="N small networks, from 70%% to 20%% of the multiply-adds",
    )
    what.add_argument(
        "--within",
        type=float,
        metavar="POINTS",
        help="choose the smallest network within so many points of the dense "
        "one on validation images, or percent of an error (default: 1)",
    )
    how = job.add_argument_group("how")
    how.add_argument(
        "--sparse",
        nargs="?",
        const="sparse_group_tl1",
        metavar="PENALTY",
        help="train with a penalty first, whose strength is found (default: "
        "no such training; without a name sparse_group_tl1)",
    )
    how.add_argument(
        "--epochs",
        type=int,
        help="epochs of the dense training and of the sparse training",
    )
    how.add_argument(
        "--fine-tune-epochs",
        type=int,
        help="epochs of fine-tuning each small network",
    )
    how.add_argument(
        "--total-epochs",
        type=int,
        help="epochs of all trainings together, divided among them",
    )
    how.add_argument(
        "--precision",
        nargs="+",
        dest="precisions",
        choices=PRECISIONS,
        metavar="PRECISION",
        help="the LiteRT files to write (default: "
        "float32 float16 dynamic int8)",
    )
    how.add_argument(
        "--qat",
        type=int,
        nargs="?",
        const=3,
        metavar="EPOCHS",
        dest="qat_epochs",
        help="train under quantization before int8 files are written "
        "(without a number: 3 epochs)",
    )
    how.add_argument(
        "--dtype-policy",
        choices=POLICIES,
        metavar="POLICY",
        help="train in mixed precision: mixed_float16 or mixed_bfloat16; "
        "networks and files stay in float32 (default: float32)",
    )
    how.add_argument("--seed", type=int, help="the seed of everything random")
    where = job.add_argument_group("where")
    where.add_argument(
        "--out",
        help="run folder (default: runs/NAME, with the name in the recipe)",
    )
    where.add_argument(
        "--resume", action="store_true", help="go on with an interrupted run"
    )
    where.add_argument(
        "--join",
        action="store_true",
        help="help another process with the same run",
    )
    where.add_argument(
        "--force", action="store_true", help="replace an existing run folder"
    )
    where.add_argument(
        "--strategy",
        choices=STRATEGIES,
        metavar="STRATEGY",
        help="train on all GPUs of this machine, or on the machines of "
        "TF_CONFIG, each of which runs this command (default: one device)",
    )
    job.set_defaults(run=compress)


# The arguments that are recipe keys.
_KEYS = (
    *("size", "within", "sparse", "epochs", "fine_tune_epochs"),
    *("total_epochs", "precisions", "qat_epochs", "dtype_policy", "seed"),
)


def compress(options):
    """Runs the command.

    Args:
        options: Its arguments, as argparse returns them.

    Returns:
        The exit code.
    """
    import keras_nonconvex as knc
    from keras_nonconvex import terminal

    # Before anything else: a cluster must be known when TensorFlow starts.
    strategy = options.strategy and knc.distribution.get(options.strategy)
    changes = {
        key: getattr(options, key)
        for key in _KEYS
        if getattr(options, key) is not None
    }
    budget = _budget(options)
    if budget:
        changes["budget"] = budget
    result = knc.compress(
        options.recipe,
        options.data,
        out=options.out,
        resume=options.resume,
        force=options.force,
        join=options.join,
        console=terminal.console(),
        strategy=strategy,
        **changes,
    )
    missed = [
        name for name in result.metrics["points"] if not _met(result, name)
    ]
    for name in missed:
        print(
            f"keras-nonconvex: the budget of {name} cannot be met; this is "
            "the closest.",
            file=sys.stderr,
        )
    return 1 if missed else 0


def _budget(options):
    """The budget of a recipe, from --macs, --params and --front."""
    from keras_nonconvex.compression import points

    given = {k: v for k in ("macs", "params") if (v := getattr(options, k))}
    if options.front is not None:
        if given:
            raise ValueError(
                "Give --front or the budgets themselves. Received: "
                f"--front {options.front} and --{next(iter(given))}"
            )
        from keras_nonconvex import checks

        return points.spaced(checks.whole("--front", options.front, 2))
    counts = {len(values) for values in given.values()}
    if len(counts) > 1:
        raise ValueError(
            "--macs and --params must have as many values as each other. "
            f"Received: {given}"
        )
    budgets = [
        dict(zip(given, values, strict=True))
        for values in zip(*given.values(), strict=True)
    ]
    return budgets[0] if len(budgets) == 1 else budgets


def _met(result, name):
    from keras_nonconvex.pruning import PruningPlan

    text = (result.folder / f"{name}.plan.json").read_text()
    return PruningPlan.from_json(text).met
