"""The dense against the small network: sizes, and answers that changed."""

import collections

import numpy as np

from keras_nonconvex.compression.job import BATCH
from keras_nonconvex.compression.report import pictures
from keras_nonconvex.run_folder import tflite_name

# How many pictures and pairs of classes are shown.
PICTURES = 24
PAIRS = 8


def rows(metrics):
    """Dense against chosen network: dicts of what, dense, small, ratio."""
    chosen = metrics["chosen"]
    dense, small = metrics["dense"], metrics[chosen]
    before = metrics["tflite"][tflite_name("dense", "float32")]
    after = metrics["tflite"][tflite_name(chosen, "float32")]
    made = [
        ("Parameters", dense["params"], small["params"], "{:,}"),
        ("MACs per image", dense["macs"], small["macs"], "{:,}"),
        ("File, float32 (KB)", before["bytes"], after["bytes"], "KB"),
    ]
    smallest = metrics["tflite"].get(tflite_name(chosen, "int8"))
    if smallest is not None:
        made.append(
            ("File, int8 (KB)", before["bytes"], smallest["bytes"], "KB")
        )
    times = before["latency_ms"], after["latency_ms"]
    made.append(("Latency, float32 (ms)", *times, "{:.4f}"))
    return [
        {
            "what": what,
            "dense": _format(first, style),
            "small": _format(second, style),
            "ratio": second / first,
        }
        for what, first, second, style in made
    ]


def _format(value, style):
    return f"{value / 1000:,.1f}" if style == "KB" else style.format(value)


def answers(job, chosen):
    """What the small network answers otherwise than the dense one.

    Args:
        job: The `Job`.
        chosen: The name of the small network.

    Returns:
        A dict of `agreement`; `pairs`, dicts of the `true` class, the
        `answer`, and how often both networks give it, those first that the
        small one confuses more often than the dense one; and `pictures`,
        dicts with `png`, the `true` class and both answers.
    """
    split, names = job.data.test, job.data.classes
    true = np.asarray(split.labels).reshape(-1)
    dense, small = (
        _classes(job, job.predict(job.load(network), split))
        for network in ("dense", chosen)
    )
    wrong = [
        collections.Counter(
            (t, a) for t, a in zip(true, found, strict=True) if t != a
        )
        for found in (dense, small)
    ]
    more = {
        pair: wrong[1][pair] - wrong[0][pair]
        for pair in set(wrong[0]) | set(wrong[1])
    }
    worst = sorted(more, key=lambda pair: (-more[pair], pair))[:PAIRS]
    changed = np.flatnonzero(dense != small)[:PICTURES]
    return {
        "agreement": float(np.mean(dense == small)),
        "pairs": [
            {
                "true": names[true_class],
                "answer": names[answer],
                "dense": wrong[0][true_class, answer],
                "small": wrong[1][true_class, answer],
            }
            for true_class, answer in worst
            if more[true_class, answer] > 0
        ],
        "pictures": [
            {
                "png": pictures.image(array),
                "true": names[true[index]],
                "dense": names[dense[index]],
                "small": names[small[index]],
            }
            for index, array in _images(split, changed)
        ],
    }


def _classes(job, predicted):
    """The class that each row of outputs means."""
    decided = np.asarray(job.output.decisions(predicted))
    return decided.reshape(len(predicted)).astype("int64")


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
