"""What the small network answers otherwise than the dense one."""

import collections
import functools

import numpy as np

from keras_nonconvex import outputs
from keras_nonconvex.compression.job import BATCH
from keras_nonconvex.compression.report import pictures

# How many pictures, pairs of classes and numbers of an answer are shown.
PICTURES = 24
PAIRS = 8
NUMBERS = 4


def changed(job, chosen):
    """The answers that changed.

    Args:
        job: The `Job`.
        chosen: The name of the small network.

    Returns:
        A dict of `agreement`, the fraction of decisions that are the same, or
        None for values; `pairs`, which is empty unless each image has one
        class; and `pictures`, dicts with the `png` of an image, its `target`,
        and what the `dense` and the `small` network answer, each a dict with
        a `text` or a `png`.
    """
    task, split = job.task, job.data.test
    given = [
        job.predict(job.load(network), split) for network in ("dense", chosen)
    ]
    target = np.asarray(split.labels)
    dense, small, target = _decided(task, *given, target)
    images = _images(split, _differ(task, *given, dense, small))
    shown = functools.partial(_seen, job, _span(task, target))
    return {
        "agreement": task.output.agreement(*given),
        "pairs": _confused(job.data.classes, target, dense, small)
        if task.classifies
        else [],
        "pictures": [
            {
                "png": pictures.image(array),
                "target": shown(target[row]),
                "dense": shown(dense[row]),
                "small": shown(small[row]),
            }
            for row, array in images
        ],
    }


def _decided(task, dense, small, target):
    """What outputs decide, and targets, in one form.

    Class numbers (n, ...), or answers or values (n, ..., units).
    """
    output = task.output
    if not output.decides:
        return dense, small, target.reshape(dense.shape)
    made = (
        output.decisions(dense),
        output.decisions(small),
        output.true(dense, target),
    )
    if task.classifies:
        return tuple(a.reshape(len(a)).astype("int64") for a in made)
    return made


def _differ(task, first, second, dense, small):
    """The rows of the pictures that are shown."""
    if task.classifies:
        return np.flatnonzero(dense != small)[:PICTURES]
    apart = np.abs(first - second).reshape(len(first), -1).mean(1)
    return np.argsort(-apart, kind="stable")[:PICTURES]


def _confused(names, target, dense, small):
    """The mistakes that the small network makes more often, worst first.

    Returns:
        A list of dicts of the `true` class, the `answer`, and how often each
        network gives it.
    """
    wrong = [
        collections.Counter(
            (t, a) for t, a in zip(target, found, strict=True) if t != a
        )
        for found in (dense, small)
    ]
    more = {
        pair: wrong[1][pair] - wrong[0][pair]
        for pair in set(wrong[0]) | set(wrong[1])
    }
    worst = sorted(more, key=lambda pair: (-more[pair], pair))[:PAIRS]
    return [
        {
            "true": names[true],
            "answer": names[answer],
            "dense": wrong[0][true, answer],
            "small": wrong[1][true, answer],
        }
        for true, answer in worst
        if more[true, answer] > 0
    ]


def _span(task, target):
    """What is black and what is white in a map."""
    if task.output.kind == outputs.CLASSES:
        return 0, max(task.output.shape[-1] - 1, 1)
    low, high = target.min(), target.max()
    # Pictures of values are seen as they are.
    return (0, 1) if low >= 0 and high <= 1 else (low, high)


def _seen(job, span, answer):
    """An answer as a text, or a map as a picture."""
    task, names = job.task, job.data.classes
    if task.maps:
        return {"png": pictures.png(_gray(task.output, span, answer))}
    if task.classifies:
        return {"text": names[answer]}
    if task.output.kind == outputs.YES_NO:
        said = [n for n, yes in zip(names, answer, strict=True) if yes]
        return {"text": ", ".join(said) or "none"}
    numbers = [f"{number:.4g}" for number in answer[:NUMBERS]]
    rest = ", ..." if len(answer) > NUMBERS else ""
    return {"text": ", ".join(numbers) + rest}


def _gray(output, span, answer):
    """A map in [0, 1] with three channels: class 0 black, the last white."""
    answer = np.asarray(answer, "float64")
    if output.kind == outputs.CLASSES:
        answer = answer[..., None]
    low, high = span
    return pictures.colored(np.clip((answer - low) / ((high - low) or 1), 0, 1))


def _images(split, rows):
    """(row, image) of some rows of a split, read batch by batch."""
    left = sorted(rows.tolist())
    first = 0
    for batch in split.dataset(BATCH).as_numpy_iterator():
        x, *_ = batch if isinstance(batch, tuple) else (batch,)
        while left and left[0] < first + len(x):
            yield left[0], x[left[0] - first]
            left.pop(0)
        if not left:
            return
        first += len(x)
