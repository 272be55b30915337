"""Which rows there are, in which order, and the table that they make."""

import itertools

BUDGETS = {"50": 1 / 2, "33": 1 / 3, "20": 1 / 5}
METHODS = {
    "tp_magnitude": "Torch-Pruning, magnitude",
    "tp_bn_scale": "Torch-Pruning, BN scale",
    "tp_taylor": "Torch-Pruning, Taylor",
    "tp_group_norm": "Torch-Pruning, GroupNorm, sparse learning first",
    "tp_magnitude_fast": "Torch-Pruning, magnitude, rate 0.05",
    "group_norm": "here, `group_norm`",
    "taylor": "here, `taylor`",
    "output_change": "here, `output_change`",
    "output_change_fast": "here, `output_change`, rate 0.05",
    "output_change_teacher": "here, `output_change`, with teacher",
    "output_change_steps": "here, `output_change`, 3 steps",
    "output_change_steps_teacher": (
        "here, `output_change`, 3 steps, with teacher"
    ),
    "output_change_projections": "here, `output_change`, 1x1 shortcuts",
    "tfmot": "TFMOT, magnitude (zeros)",
    "keras_l1": "Keras, L1 and magnitude (zeros)",
}
# Those that only write zeros, whose budget is about parameters.
ZEROS = ("tfmot", "keras_l1")
FIRST = (
    "tp_magnitude",
    "tp_taylor",
    "output_change",
    "output_change_teacher",
)
STAGES = ("pruned", "recalibrated", "repaired", "fine_tuned")
COLUMNS = (
    "pruner",
    "seed",
    "params",
    "MACs",
    "right after",
    "recalibrated",
    "repaired",
    "trained",
    "LiteRT, ms",
    "of dense",
    "torch, ms",
    "of dense",
)


def order(networks):
    """All rows as (network, key, percent, method, seed), telling ones first."""
    removing = [name for name in METHODS if name not in ZEROS]
    later = [name for name in removing if name not in FIRST]
    waves = (
        (("macs",), ("50", "33"), (0,), FIRST),
        (("macs",), ("50", "33"), (0,), later),
        (("macs",), ("50", "33"), (1,), removing),
        (("macs",), ("20",), (0, 1), removing),
        (("params",), ("50", "33"), (0,), METHODS),
        (("params",), ("50", "33"), (1,), METHODS),
        (("params",), ("20",), (0, 1), METHODS),
    )
    return [
        (network, key, percent, method, seed)
        for network in networks
        for keys, percents, seeds, methods in waves
        for key, percent, seed, method in itertools.product(
            keys, percents, seeds, methods
        )
    ]


def name(row):
    """How a row is called: "resnet20/macs-50/tp_taylor/0"."""
    network, key, percent, method, seed = row
    return f"{network}/{key}-{percent}/{method}/{seed}"


def is_theirs(method):
    """Whether a row is one of Torch-Pruning."""
    return method.startswith("tp_")


def markdown(rows, networks, head):
    """The table as text.

    Args:
        rows: {(network, key, percent, method, seed): the row's figures}.
        networks: {network: its own figures}: "params", "macs", "accuracy".
        head: Lines that say what was measured and how.
    """
    lines = list(head)
    groups = {}
    for row in sorted(rows, key=order(networks).index):
        groups.setdefault(row[:3], []).append(row)
    places = list(itertools.product(networks, ("macs", "params"), BUDGETS))
    for place in sorted(groups, key=places.index):
        network, key, percent = place
        dense = networks[network]
        what = "MACs" if key == "macs" else "parameters"
        lines += [
            "",
            f"## {network}, {percent}% of the {what}",
            "",
            f"Dense: {dense['accuracy']:.2%}, {dense['params']:,} parameters, "
            f"{dense['macs']:,} MACs.",
            "",
            f"| {' | '.join(COLUMNS)} |",
            f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        ]
        methods = list(METHODS)
        given = sorted(groups[place], key=lambda r: (methods.index(r[3]), r[4]))
        lines += [_line(row, rows[row], dense) for row in given]
        lines += ["", *losses({row: rows[row] for row in given})]
    lines += _missing(rows, networks)
    return "\n".join(lines) + "\n"


def _missing(rows, networks):
    """Lines that name the rows that were not trained yet."""
    left = {}
    for row in order(networks):
        if rows.get(row, {}).get("fine_tuned") is None:
            network, key, percent, method, seed = row
            place = left.setdefault(f"{network}/{key}-{percent}", {})
            place.setdefault(method, []).append(str(seed))
    if not left:
        return []
    return [
        "",
        "Not trained yet; the same command goes on with these:",
        "",
        *(
            f"- {place}: "
            + ", ".join(
                f"{method} {' '.join(seeds)}"
                for method, seeds in methods.items()
            )
            for place, methods in left.items()
        ),
    ]


def _line(row, figures, dense):
    *_, method, seed = row
    params = f"{figures['params'] / dense['params']:.1%}"
    if method in ZEROS:
        params += f" ({figures['not_zero'] / dense['params']:.1%} not zero)"
    cells = [
        METHODS[method],
        str(seed),
        params,
        f"{figures['macs'] / dense['macs']:.1%}",
        *(_percent(figures.get(stage)) for stage in STAGES),
    ]
    for runtime in ("litert", "torch"):
        small = figures.get(f"{runtime}_ms")
        cells += (
            ["", ""]
            if small is None
            else [
                f"{small:.3f}",
                f"{small / figures[f'dense_{runtime}_ms']:.2f}",
            ]
        )
    return f"| {' | '.join(cells)} |"


def _percent(part):
    return "" if part is None else f"{100 * part:.2f}"


def losses(rows):
    """Lines that say where the best row of Torch-Pruning wins.

    Of each seed and column the best row of either side counts; rows with a
    teacher are left out.

    Args:
        rows: {row: figures} of one network and budget.
    """
    lines = []
    for seed in sorted({row[4] for row in rows}):
        for stage in STAGES:
            best = {}
            for row, figures in rows.items():
                _, _, _, method, of = row
                value = figures.get(stage)
                compared = "teacher" not in method and method not in ZEROS
                if of == seed and value is not None and compared:
                    side = is_theirs(method)
                    best[side] = max(best.get(side, (-1, "")), (value, method))
            if len(best) == 2 and best[True][0] > best[False][0]:
                (theirs, one), (ours, other) = best[True], best[False]
                lines.append(
                    f"- Torch-Pruning is better {_WHEN[stage]}, seed {seed}: "
                    f"{theirs:.2%} ({METHODS[one].partition(', ')[2]}) against "
                    f"{ours:.2%} ({METHODS[other].partition(', ')[2]})."
                )
    return lines


_WHEN = {
    "pruned": "right after the cut",
    "recalibrated": "once batch norms are recalibrated",
    "fine_tuned": "after training",
}
