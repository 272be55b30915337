"""The HTML page of a run: one file, nothing to fetch."""

import jinja2

from keras_nonconvex import files
from keras_nonconvex.compression import front
from keras_nonconvex.compression.report import answers
from keras_nonconvex.compression.report import comparing
from keras_nonconvex.compression.report import figures
from keras_nonconvex.compression.report import pictures
from keras_nonconvex.pruning import PruningPlan
from keras_nonconvex.version import __version__


def write(job, metrics):
    """Writes the report into a run folder that has everything else.

    Args:
        job: The `Job`, all other steps of which are done.
        metrics: A dict, what metrics.json holds.
    """
    paths, chosen = job.paths, metrics["chosen"]
    base = "sparse" if "sparse" in metrics else "dense"
    plan = PruningPlan.from_json(paths.plan(chosen).read_text())
    rows = {
        step: job.records.rows(step)
        for step in ("dense", "sparse", f"fine-tune.{chosen}")
    }
    measure = job.task.measure
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_nonconvex.compression.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count="{:,}".format,
        measure=measure.text,
        percent=_percent,
        size=_size,
    )
    page = environment.get_template("page.html.jinja").render(
        recipe=job.recipe,
        metrics=metrics,
        data=job.data,
        dense=metrics["dense"],
        small=metrics[chosen],
        base=base,
        plan=plan,
        task=job.task,
        measure=measure,
        fronts=figures.fronts(front.rows(metrics, measure), measure),
        training=figures.training(rows, measure),
        widths=figures.widths(plan),
        sparsity=figures.sparsity(rows["sparse"], metrics.get("sparse")),
        filters=pictures.first_filters(job.load(base), plan),
        answers=answers.changed(job, chosen),
        comparisons=comparing.rows(metrics),
        latency=comparing.latency(metrics),
        why_chosen=front.reason(
            metrics["chosen_is_near"], job.recipe.within, measure
        ),
        # Until the run is complete it has another name.
        folder=paths.folder.name.removesuffix(".part"),
        version=__version__,
    )
    files.write_text(paths.report, page)


def _percent(value, digits=1):
    return f"{100 * value:.{digits}f} %"


def _size(count):
    return f"{count / 1000:,.1f} KB"
