"""Compile settings and optimizer state of the small model."""

import warnings

import keras
from keras import ops

from keras_nonconvex import configs


def compile_like(small, model):
    """Compiles a model as another one is, without a solver.

    Args:
        small: The model to compile.
        model: The model whose settings count; nothing is done if it is not
            compiled.
    """
    settings = getattr(model, "_compile_config", None)
    if not getattr(model, "compiled", False) or settings is None:
        return
    settings = {
        key: value
        for key, value in settings.config.items()
        if key not in ("solver", "coupled", "auto_scale_loss")
    }
    try:
        settings["optimizer"] = configs.anew(model.optimizer)
        # Metrics count what their own model sees.
        for key in ("metrics", "weighted_metrics"):
            settings[key] = keras.tree.map_structure(_fresh, settings.get(key))
    except Exception as error:
        warnings.warn(
            "The small model is not compiled, since the optimizer or a metric "
            f"cannot be made anew from its config: {configs.cause(error)} "
            "Call its compile method with new ones. "
            f"Received: model={model.name!r}",
            stacklevel=4,
        )
        return
    small.compile(**settings, auto_scale_loss=False)


def _fresh(metric):
    if isinstance(metric, keras.metrics.Metric):
        return configs.anew(metric)
    return metric


def carry_optimizer(small, model, builder):
    """Gives the small model the optimizer state of the weights that stay.

    Args:
        small: The small model, compiled.
        model: The model that it comes from, compiled and trained.
        builder: The `Builder` that built the small model.
    """
    old, new = (
        getattr(getattr(m, "optimizer", None), "inner_optimizer", None)
        or getattr(m, "optimizer", None)
        for m in (model, small)
    )
    if old is None or new is None or not old.built:
        raise ValueError(
            "With optimizer=True the model must be compiled and trained. "
            f"Received: model={model.name!r} without optimizer state"
        )
    if not small.optimizer.built:
        small.optimizer.build(small.trainable_variables)
    new.iterations.assign(ops.convert_to_numpy(old.iterations))
    # A slot is named after its weight, and has its shape.
    slots = {v.name: v for v in old.variables}
    mine = {v.name: v for v in new.variables}
    for before, after in builder.pairs:
        start, prefix = (v.path.replace("/", "_") for v in (before, after))
        for name, slot in mine.items():
            source = slots.get(start + name.removeprefix(prefix))
            if (
                name.startswith(prefix)
                and source is not None
                and source.shape == before.shape
                and slot.shape == after.shape
            ):
                value = ops.convert_to_numpy(source)
                slot.assign(builder.cut(before, value))
