"""The front of a run: its files by accuracy, multiply-adds, bytes and time."""

import csv
import io

# What a file costs, by the heading of its axis.
COSTS = {
    "macs": "multiply-adds per image",
    "bytes": "bytes",
    "latency_ms": "latency on this machine, ms",
}
_COLUMNS = (
    *("network", "precision", "accuracy", "validation_accuracy", "params"),
    *COSTS,
    *(f"unbeaten_by_{cost}" for cost in COSTS),
)


def rows(metrics):
    """One dict per LiteRT file.

    Args:
        metrics: What metrics.json holds.

    Returns:
        A list of dicts of `network`, `precision`, `accuracy` of the file on
        test images, `validation_accuracy`, `params` and `macs` of its
        network, `bytes`, `latency_ms`, and for each cost whether no other
        file of the precision is as accurate for less, or more so for as much.
    """
    made = []
    for name, entry in metrics["tflite"].items():
        network, precision, _ = name.rsplit(".", 2)
        whole = metrics[network]
        made.append(
            {
                "network": network,
                "precision": precision,
                "accuracy": entry["accuracy"],
                "validation_accuracy": whole["validation_accuracy"],
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
                _beats(other, row, cost) for other in alike
            )
    return made


def _beats(other, row, cost):
    """Whether one file is better than another in one way, and never worse."""
    first = other[cost], -other["accuracy"]
    second = row[cost], -row["accuracy"]
    return first != second and all(
        a <= b for a, b in zip(first, second, strict=True)
    )


def table(rows):
    """The rows as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def chosen(metrics, points, within):
    """The small network that counts, by the validation images.

    Args:
        metrics: What metrics.json holds.
        points: The names of the small networks.
        within: How many percentage points below the dense network it may be.

    Returns:
        The name of the one with the fewest multiply-adds that is not too far
        below; if all are, of the most accurate one.
    """

    def accuracy(name):
        return metrics[name]["validation_accuracy"]

    least = accuracy("dense") - within / 100
    near = [name for name in points if accuracy(name) >= least]
    if not near:
        return max(points, key=accuracy)
    return min(near, key=lambda name: metrics[name]["macs"])
