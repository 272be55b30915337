"""How strong a penalty should be: where all is zero, and a path below it."""

import csv
import io
import json
import pathlib

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure

from keras_nonconvex import callbacks
from keras_nonconvex import checks
from keras_nonconvex import files
from keras_nonconvex import regularizers
from keras_nonconvex import samples
from keras_nonconvex import sparsity
from keras_nonconvex.solvers import step_size
from keras_nonconvex.training import least_strength


def strength_max(model, x, y=None, batch_size=128, step=None, per_weight=False):
    """The strength from which on everything that is penalised stays zero.

    A weight stays zero where prox(-step * gradient) = 0, with the gradient of
    the mean data loss over all of `x`; for the lasso this gives max |X'y| / n.
    The gradient is taken at zero weights. In a deep network it can vanish
    there, because the layers hide each other; it is then taken at the weights
    that the model has now. So the answer is exact for linear models and a
    scale for deep ones: a search may start there and go down.

    For an envelope it is the strength from which on the k groups that are the
    largest now stay alone: all others stay zero where

        ||g_j|| / sqrt(d_j) <= strength * tau,

    with the gradient g at these k groups alone (or with all groups, where it
    vanishes there, as behind a ReLU), and tau the norm sqrt(d_i) ||w_i|| of
    the smallest of them.

    All strengths of a regularizer grow together; the answer is the `strength`
    of the regularizer whose weights become zero last.

    Args:
        model: A compiled `ProximalModel` with at least one penalty of
            strength above 0.
        x: Inputs: an array of shape (samples, ...) or a structure of arrays;
            a `tf.data.Dataset`, `PyDataset` or generator of (inputs,
            targets); or the name or folder of a data set. All of it is read.
        y: Targets, an array or arrays; None where `x` has them. Defaults to
            `None`.
        batch_size: A whole number >= 1, the samples per gradient; the answer
            is about all of them together. Defaults to `128`.
        step: A number above 0, the step of the prox. None means the one that
            the model's optimizer leads to. It matters for penalties with an
            infinite slope at zero (L0, Lp) only. Defaults to `None`.
        per_weight: True or False, whether to return one strength for each
            weight. Defaults to `False`.

    Returns:
        A number; with `per_weight` a dict of weight path -> number, where
        coupled groups have the path `"coupled"`.

    Example:
    >>> top = knc.strength_max(model, x_train, y_train)
    >>> strengths = [top / 10, top / 100, top / 1000]
    """
    targets = _targets(model)
    batch_size = checks.whole("batch_size", batch_size, 1)
    x, y = samples.read(model, x, y)
    if step is None:
        optimizer = step_size.innermost(model.optimizer)
        lr = ops.convert_to_numpy(optimizer.learning_rate).item()
        step = lr / (1.0 - step_size.momentum(optimizer))
    step = checks.number(
        "step",
        step,
        "a number above 0 (None takes the optimizer's current rate)",
        lambda v: v > 0.0,
    )
    strengths = least_strength.strengths(model, targets, x, y, batch_size, step)
    return strengths if per_weight else max(strengths.values())


def strength_path(
    model,
    x,
    y=None,
    validation_data=None,
    multipliers=None,
    epochs=5,
    out=None,
    **fit_options,
):
    """Trains at ever larger strengths, each from where the last one ended.

    The strengths of the model come back at the end, also when training is
    interrupted.

    Args:
        model: A compiled `ProximalModel`, trained in place. Start from a
            trained one, or the first points mix training with thinning.
        x: Training inputs, as in `fit`, or the name or folder of a data
            set. A generator without `steps_per_epoch` is kept in memory.
        y: Targets, as in `fit`. None where `x` has them. Defaults to `None`.
        validation_data: (x, y) or a dataset, as in `fit`: the data on which
            each point is measured. None means the training data. Defaults to
            `None`.
        multipliers: Numbers >= 0, the factors on the model's strengths in
            the order in which they are trained. None means 0 and ten factors
            from 1/30 to 30. Defaults to `None`.
        epochs: A whole number >= 1, the epochs for each point. Defaults to
            `5`.
        out: A folder for `curve.csv`, `curve.png` and the weights of each
            point, or None to write nothing. A point whose weights are there
            is not trained again. Defaults to `None`.
        **fit_options: Further arguments of `fit`, such as `batch_size`,
            `callbacks` and `verbose`.

    Returns:
        A list with one dict for each multiplier: `multiplier`, the metrics of
        `evaluate`, `zero_weights`, `zero_filters`, `zero_groups` and
        `macs_left`.

    Example:
    ```python
    points = knc.strength_path(
        model, x, y, validation_data=(x_val, y_val), epochs=3, out="path"
    )
    ```
    """
    penalties = _penalties(model)
    epochs = checks.whole("epochs", epochs, 1)
    if multipliers is None:
        multipliers = [0.0, *np.geomspace(1 / 30, 30, 10)]
    multipliers = [
        checks.number(
            "multipliers", m, "finite numbers >= 0", lambda v: v >= 0.0
        )
        for m in keras.tree.flatten(multipliers)
    ]
    used = keras.tree.flatten(fit_options.get("callbacks") or [])
    if any(
        isinstance(c, (callbacks.StrengthSchedule, callbacks.TargetSparsity))
        for c in used
    ):
        raise ValueError(
            "strength_path sets the strength itself: remove StrengthSchedule "
            f"and TargetSparsity. Received: callbacks={used!r}"
        )
    out = None if out is None else pathlib.Path(out)
    if out:
        shapes = [getattr(a, "shape", None) for a in keras.tree.flatten(x)]
        _check_folder(
            out,
            multipliers=multipliers,
            epochs=epochs,
            samples=[shape and list(shape) for shape in shapes],
            regularizers=penalties,
            weights=[list(v.shape) for v in model.weights],
            optimizer=type(model.optimizer).__name__,
        )
    steps = fit_options.get("steps_per_epoch")
    x, y = samples.for_fit(model, x, y, steps)
    model.optimizer.build(model.trainable_variables)
    before = ops.convert_to_numpy(model.solver_state.strength)
    measured = validation_data if validation_data is not None else (x, y)
    points = []
    try:
        for index, multiplier in enumerate(multipliers):
            weights = out and out / f"{index:02d}.weights.h5"
            if weights and weights.exists():
                model.load_weights(weights)
            else:
                model.solver_state.strength.assign(multiplier)
                model.fit(x, y, epochs=epochs, **fit_options)
                if weights:
                    with files.replacing(weights) as path:
                        model.save_weights(path)
            point = {"multiplier": multiplier}
            point.update(_evaluate(model, measured))
            point.update(sparsity.sparsity(model))
            points.append(point)
            if out:
                _write(out, points)
    finally:
        model.solver_state.strength.assign(before)
    return points


def _check_folder(out, **settings):
    """Refuses to go on with the path of another model or other settings."""
    text, path = json.dumps(settings, indent=1), out / "path.json"
    if path.exists() and path.read_text() != text:
        raise ValueError(
            "Argument `out` holds a path of another model, other penalties or "
            f"other settings: choose another folder. Received: {str(out)!r}"
        )
    files.write_text(path, text)


def _evaluate(model, data):
    if not isinstance(data, (tuple, list)):
        data = (data,)
    options = dict(zip(("x", "y", "sample_weight"), data, strict=False))
    return model.evaluate(**options, verbose=0, return_dict=True)


def _write(out, points):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(points[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    files.write_text(out / "curve.csv", text.getvalue())
    quality = next(
        (name for name in points[0] if name.endswith("accuracy")), "loss"
    )
    cost = "macs_left" if "macs_left" in points[0] else "zero_weights"
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [point[cost] for point in points],
        [point[quality] for point in points],
        "o-",
        color="#2a6f97",
    )
    for point, following in zip(points, [*points[1:], None], strict=True):
        # Of several points at one place only the last gets its label.
        if following and abs(following[cost] - point[cost]) < 0.01:
            continue
        axes.annotate(
            f"{point['multiplier']:.2g}",
            (point[cost], point[quality]),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel(
        "MACs left, as a fraction" if cost == "macs_left" else "zero weights"
    )
    axes.set_ylabel(quality)
    axes.set_title("Each point: its factor on the strengths", fontsize=10)
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    with files.replacing(out / "curve.png") as path:
        figure.savefig(path, dpi=130)


def _penalties(model):
    """What a compiled model penalises, in words; an error if nothing."""
    targets = _targets(model)
    if model.coupled is not None and model.coupled.strength > 0:
        own = [v.regularizer for v in model.trainable_variables]
        own = [repr(reg) for reg in own if reg is not None]
        return [repr(model.coupled), *own]
    return [repr(reg) for _, reg in targets]


def _targets(model):
    """The penalised weights of a compiled model; an error if it has none."""
    if getattr(model, "solver_state", None) is None:
        raise ValueError(
            "Argument `model` must be a compiled knc.ProximalModel; "
            f"knc.attach makes one. Received: model={model!r}"
        )
    targets = [
        (v, v.regularizer)
        for v in model.trainable_variables
        if isinstance(v.regularizer, regularizers.Regularizer)
        and v.regularizer.has_prox
        and v.regularizer.strength > 0
    ]
    coupled = model.coupled
    if not targets and (coupled is None or coupled.strength == 0):
        raise ValueError(
            "The model has no weight with a penalty that has a prox and a "
            f"strength above 0. Received: model={model.name!r}"
        )
    return targets
