"""The front of a run: its files by accuracy, multiply-adds, bytes and time."""

import csv
import io

# What a file costs, by the heading of its axis.
COSTS = {
    "macs": "multiply-adds per image",
    "bytes": "bytes",
    "latency_ms": "latency on this machine, ms",
}


def rows(metrics, measure):
    """One dict per LiteRT file.

    Args:
        metrics: What metrics.json holds.
        measure: The `Measure`.

    Returns:
        A list of dicts of `network`, `precision`, the measure of the file on
        test images, such as `accuracy`, and, as `validation_accuracy`, of its
        network on validation images, `params` and `macs` of the network,
        `bytes`, `latency_ms`, and for each cost whether no other file of the
        precision is as good for less, or better for as much.
    """
    validation = f"validation_{measure.name}"
    made = []
    for name, entry in metrics["tflite"].items():
        network, precision, _ = name.rsplit(".", 2)
        whole = metrics[network]
        made.append(
            {
                "network": network,
                "precision": precision,
                measure.name: entry[measure.name],
                validation: whole[validation],
                "params": whole["params"],
                "macs": whole["macs"],
                "bytes": entry["bytes"],
                "latency_ms": entry["latency_ms"],
            }
        )
    for row in made:
        alike = [r for r in made if r["precision"] == row["precision"]]
        for cost in COSTS:
            row[f"unbeaten_by_{cost}"] = not any(
                _beats(other, row, cost, measure) for other in alike
            )
    return made


def _beats(other, row, cost, measure):
    """Whether one file is better than another in one way, and never worse."""
    first, second = (
        (each[cost], -measure.gain(each[measure.name])) for each in (other, row)
    )
    return first != second and all(
        a <= b for a, b in zip(first, second, strict=True)
    )


def table(rows, measure):
    """The rows as the text of a CSV file.

    Args:
        rows: What `rows` returns.
        measure: The `Measure`.
    """
    text = io.StringIO()
    columns = (
        *("network", "precision", measure.name),
        *(f"validation_{measure.name}", "params", *COSTS),
        *(f"unbeaten_by_{cost}" for cost in COSTS),
    )
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def chosen(metrics, points, within, measure):
    """The small network that counts, by the validation images.

    Args:
        metrics: What metrics.json holds.
        points: The names of the small networks.
        within: How much worse than the dense network it may be, in the unit
            of `Measure.behind`.
        measure: The `Measure`.

    Returns:
        (the name of the one with the fewest multiply-adds that is not too far
        behind, True); if all are, (the name of the best one, False).
    """

    def behind(name):
        key = f"validation_{measure.name}"
        return measure.behind(metrics[name][key], metrics["dense"][key])

    # A point is a point, whatever rounding makes of it.
    near = [name for name in points if behind(name) <= within + 1e-9]
    if not near:
        return min(points, key=behind), False
    return min(near, key=lambda name: metrics[name]["macs"]), True


def reason(is_near, within, measure):
    """Why a small network was chosen, in words.

    Args:
        is_near: What `chosen` says of it.
        within: As in `chosen`.
        measure: The `Measure`.
    """
    unit = "point" if measure.higher and within == 1 else measure.unit
    reach = f"within {within:g} {unit} of the dense one"
    if is_near:
        return f"the smallest {reach} on validation images"
    return f"the best on validation images, where none is {reach}"
