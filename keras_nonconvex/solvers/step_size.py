"""The step that the prox sees, so that the optimizer's fixed point is the
minimiser of the logged objective.

With `prox` alone after the optimizer's own move w -> w + d, a fixed point
satisfies w = prox_s(w + d). It minimises loss + penalty iff d = -s * gradient
there, so s is what the optimizer multiplies a *constant* gradient by:

    SGD                        s = lr
    SGD, momentum or Nesterov  s <- momentum s + lr, so s = lr / (1 - momentum)
                               where lr is constant
    Adam, AdamW, Nadam, ...    s_i = 1 / metric_i, per weight: `METRICS`

The recursion matters: under a decaying schedule the momentum still carries
gradients that were scaled by larger rates, and with lr / (1 - momentum) the
zeros would come loose in the last epochs.

With momentum m, a concave penalty adds a condition for the fixed point to be
stable: lr strength |r''| < (1 - m)^2. Training sizes are far below it.

Groups need one s for all their weights. In an adaptive optimizer that is the
inverse of the group's mean metric, and the group moves along the optimizer's
direction with that one step, so the argument above holds for it too.

References: Yun, Lozano, Yang, Adaptive Proximal Gradient Methods for
Structured Neural Networks (ProxGen), 2021.
"""

import warnings

import keras
from keras import ops


def _adam(optimizer, index, lr, count):
    velocities = optimizer._velocities
    if getattr(optimizer, "amsgrad", False):
        velocities = optimizer._velocity_hats
    # Keras folds both bias corrections into the rate.
    rate = (
        lr
        * ops.sqrt(1.0 - ops.power(optimizer.beta_2, count))
        / (1.0 - ops.power(optimizer.beta_1, count))
    )
    return (ops.sqrt(velocities[index]) + optimizer.epsilon) / rate


def _nadam(optimizer, index, lr, count):
    corrected = optimizer._velocities[index] / (
        1.0 - ops.power(optimizer.beta_2, count)
    )
    return (ops.sqrt(corrected) + optimizer.epsilon) / lr


def _adamax(optimizer, index, lr, count):
    rate = lr / (1.0 - ops.power(optimizer.beta_1, count))
    return (optimizer._u[index] + optimizer.epsilon) / rate


def _rmsprop(optimizer, index, lr, count):
    squares = ops.convert_to_tensor(optimizer._velocities[index])
    if optimizer.centered:
        squares = squares - ops.square(optimizer._average_gradients[index])
    rate = lr / (1.0 - optimizer.momentum)
    return ops.sqrt(squares + optimizer.epsilon) / rate


def _adagrad(optimizer, index, lr, count):
    squares = ops.convert_to_tensor(optimizer._accumulators[index])
    return ops.sqrt(squares + optimizer.epsilon) / lr


# Optimizer -> the metric in which it moves: w <- w - direction / metric.
METRICS = {
    keras.optimizers.Adam: _adam,
    keras.optimizers.Nadam: _nadam,
    keras.optimizers.Adamax: _adamax,
    keras.optimizers.RMSprop: _rmsprop,
    keras.optimizers.Adagrad: _adagrad,
}


def innermost(optimizer):
    """The optimizer inside a loss-scaling wrapper."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def metric_of(optimizer):
    """The function of `METRICS` for an optimizer, or None."""
    for cls in type(innermost(optimizer)).__mro__:
        if cls in METRICS:
            return METRICS[cls]
    return None


def check(optimizer, mode):
    """Refuses or warns where `mode` makes the strength mean something else.

    Args:
        optimizer: The model's optimizer.
        mode: The argument `step` of `ProximalGradient`.
    """
    optimizer = innermost(optimizer)
    kind, adaptive = type(optimizer).__name__, metric_of(optimizer)
    if mode == "preconditioned":
        if adaptive is None:
            names = ", ".join(cls.__name__ for cls in METRICS)
            raise ValueError(
                "step='preconditioned' needs an optimizer with a metric of "
                f"its own ({names}, AdamW). Received: optimizer={kind}"
            )
    elif mode == "learning_rate":
        if momentum(optimizer) or adaptive:
            warnings.warn(
                "step='learning_rate' with this optimizer makes the penalty "
                "act weaker than the logged loss says; step='auto' does not. "
                f"Received: optimizer={kind}",
                stacklevel=5,
            )
    elif not (adaptive or isinstance(optimizer, keras.optimizers.SGD)):
        names = ", ".join(cls.__name__ for cls in METRICS)
        warnings.warn(
            f"step='auto' knows SGD, AdamW, {names}; for others the prox uses "
            "the learning rate, and the effective strength may differ from "
            f"the logged one. Received: optimizer={kind}",
            stacklevel=5,
        )


def momentum(optimizer):
    """The momentum through which gradients reach the weights; 0 for none."""
    optimizer = innermost(optimizer)
    if isinstance(optimizer, keras.optimizers.SGD):
        return optimizer.momentum
    return 0.0


def weight_metric(optimizer, variable, lr, dtype):
    """The metric of each single weight after an update.

    Args:
        optimizer: The adaptive optimizer that made the update.
        variable: A Keras variable that it updates.
        lr: The learning rate that the update used.
        dtype: The dtype in which the metric is computed.

    Returns:
        A tensor in the variable's shape.
    """
    optimizer = innermost(optimizer)
    # Before the first real update (accumulation, a skipped loss scale) the
    # count is 0, and the learning rate given here as well.
    count = ops.cast(ops.maximum(optimizer.iterations, 1), dtype)
    return metric_of(optimizer)(
        optimizer, optimizer._get_variable_index(variable), lr, count
    )


def point_and_step(optimizer, variable, before, now, lr, axes):
    """Where the prox of `variable` is taken in its metric, and the step.

    Args:
        optimizer: The adaptive optimizer that has just updated `variable`.
        variable: A Keras variable.
        before: The variable's value before the update; None if `axes` is
            empty.
        now: The variable's value after the update.
        lr: The learning rate that the update used.
        axes: The axes that one group of `variable` spans; () for single
            weights.

    Returns:
        (point, step): the point has the variable's shape; the step is a
        scalar or broadcasts to that shape.
    """
    metric = weight_metric(optimizer, variable, lr, now.dtype)
    if not axes:
        return now, 1.0 / metric
    step = 1.0 / ops.mean(metric, axis=axes, keepdims=True)
    # A rate of 0 makes the metric infinite; then nothing has moved.
    stretch = ops.where(lr > 0, metric * step, ops.ones_like(metric))
    return before + (now - before) * stretch, step
