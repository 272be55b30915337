"""What people read: metrics, history, the front, the report."""

import functools
import json

from keras_nonconvex import files
from keras_nonconvex import terminal
from keras_nonconvex.compression import front
from keras_nonconvex.compression import report
from keras_nonconvex.compression.steps import Step


def steps(job):
    """The steps of this stage, a list of `Step`."""
    return [
        Step(
            "report",
            functools.partial(_report, job),
            needs=("latency", *_measured(job)),
            makes=(job.paths.metrics, job.paths.report),
        )
    ]


def _measured(job):
    """The names of the steps that measure networks."""
    names = ["dense"]
    if job.recipe.long_baseline:
        names.append("dense_long")
    if job.recipe.is_sparse:
        names.append("sparse")
    return [*names, *(f"fine-tune.{p.name}" for p in job.recipe.points)]


def _report(job):
    metrics = _metrics(job)
    files.write_text(job.paths.metrics, json.dumps(metrics, indent=1) + "\n")
    trained = _measured(job)
    history = job.records.history(trained, job.task.measure.name)
    files.write_text(job.paths.history, history)
    measure = job.task.measure
    rows = front.rows(metrics, measure)
    files.write_text(job.paths.front, front.table(rows, measure))
    with terminal.bar(job.console, "Report"):
        report.write(job, metrics)
    job.console.print(_summary(job, metrics, rows))
    return {}


def _summary(job, metrics, rows):
    """The files of the run in a table, one line each."""
    measure, dense = job.task.measure, metrics["dense"]
    made = terminal.table(
        "network", "file<", f"test\n{measure.words}", "MACs", "KB", "ms"
    )
    for row in rows:
        made.add_row(
            row["network"],
            row["precision"],
            measure.text(row[measure.name]),
            f"{100 * row['macs'] / dense['macs']:.1f}%",
            f"{row['bytes'] / 1000:,.1f}",
            f"{row['latency_ms']:.3g}",
        )
    note = None
    if len(metrics["points"]) > 1:
        why = front.reason(
            metrics["chosen_is_near"], job.recipe.within, measure
        )
        note = f"{metrics['chosen']} was chosen: {why}."
    return terminal.titled("What was made", made, note)


def _metrics(job):
    """What metrics.json holds."""
    records, recipe = job.records, job.recipe
    names = [point.name for point in recipe.points]
    metrics = {
        "dataset": job.data.name,
        "task": job.task.described,
        "points": names,
    }
    for step in _measured(job):
        metrics[step.removeprefix("fine-tune.")] = records.measured(step)
    for name in names:
        for step in ("prune", "repair"):
            if records.done(f"{step}.{name}"):
                measured = records.measured(f"{step}.{name}")
                metrics[name][f"after_{step}"] = measured
    timed = records.measured("latency")
    metrics["tflite"] = {
        name: {**records.measured(f"export.{name[:-7]}"), **times}
        for name, times in timed.items()
    }
    metrics["chosen"], metrics["chosen_is_near"] = front.chosen(
        metrics, names, recipe.within, job.task.measure
    )
    costs = records.costs()
    metrics["steps"] = costs
    metrics["seconds"] = round(sum(c["seconds"] for c in costs.values()), 1)
    return metrics
