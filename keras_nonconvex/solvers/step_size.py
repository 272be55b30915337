"""The step that the prox sees, so that the optimizer's fixed point is the
minimiser of the logged objective.

With `prox` alone after the optimizer's own move w -> w + d, a fixed point
satisfies w = prox_s(w + d). It minimises loss + penalty iff d = -s * gradient
there, so s is what the optimizer multiplies a *constant* gradient by:

    SGD                        s = lr
    SGD, momentum or Nesterov  s <- momentum s + lr, so s = lr / (1 - momentum)
                               where lr is constant
    Adam, AdamW                s_i = lr_t / (sqrt(v_i) + epsilon), per weight

The recursion matters: under a decaying schedule the momentum still carries
gradients that were scaled by larger rates, and with lr / (1 - momentum) the
zeros would come loose in the last epochs.

With momentum m, a concave penalty adds a condition for the fixed point to be
stable: lr strength |r''| < (1 - m)^2. Training sizes are far below it.

Groups need one s for all their weights. For Adam types that is the inverse of
the group's mean metric, and the group moves along the optimizer's momentum
with that one step, so the argument above holds for it too.
"""

import warnings

import keras
from keras import ops


def innermost(optimizer):
    """The optimizer inside a loss-scaling wrapper."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def read(variable):
    """The value that a variable has now, also after it changes.

    On TensorFlow the conversion to a tensor alone is the live variable.
    """
    return ops.copy(ops.convert_to_tensor(variable))


def check(optimizer, step):
    """Warns where `step` makes the strength mean something else."""
    optimizer = innermost(optimizer)
    if step == "learning_rate":
        if momentum(optimizer) or isinstance(optimizer, keras.optimizers.Adam):
            warnings.warn(
                "step='learning_rate' with this optimizer makes the penalty "
                "act weaker than the logged loss says; step='auto' does not. "
                f"Received: optimizer={type(optimizer).__name__}",
                stacklevel=4,
            )
    elif not isinstance(
        optimizer, (keras.optimizers.SGD, keras.optimizers.Adam)
    ):
        warnings.warn(
            "step='auto' knows SGD, Adam and AdamW; for others the prox uses "
            "the learning rate, and the effective strength may differ from "
            "the logged one. "
            f"Received: optimizer={type(optimizer).__name__}",
            stacklevel=4,
        )


def momentum(optimizer):
    """The momentum through which gradients reach the weights; 0 for none."""
    optimizer = innermost(optimizer)
    if isinstance(optimizer, keras.optimizers.SGD):
        return optimizer.momentum
    return 0.0


def point_and_step(optimizer, variable, reach, learning_rate, mode, axes):
    """Where the prox of `variable` is taken, and its step.

    Args:
        optimizer: The optimizer that has just updated `variable`.
        variable: A Keras variable.
        reach: What the update multiplied a constant gradient by: the
            recursion above.
        learning_rate: The learning rate which the update used.
        mode: "auto" or "learning_rate".
        axes: The axes that one group of `variable` spans; () for single
            weights.

    Returns:
        The point, in the variable's shape; the step, scalar or
        broadcastable to it.
    """
    optimizer = innermost(optimizer)
    w = read(variable)
    lr = ops.cast(learning_rate, w.dtype)
    if mode == "learning_rate":
        return w, lr
    if isinstance(optimizer, keras.optimizers.Adam):
        return _in_adam_metric(optimizer, variable, w, lr, axes)
    return w, ops.cast(reach, w.dtype)


def _in_adam_metric(optimizer, variable, w, lr, axes):
    # Keras' Adam: w <- w - m lr_t / (sqrt(v) + epsilon).
    index = optimizer._get_variable_index(variable)
    first_moment = ops.convert_to_tensor(optimizer._momentums[index])
    velocities = (
        optimizer._velocity_hats if optimizer.amsgrad else optimizer._velocities
    )
    # Before the first real update (accumulation, a skipped loss scale) the
    # count is 0 and the learning rate given here as well.
    count = ops.cast(ops.maximum(optimizer.iterations, 1), w.dtype)
    lr_t = (
        lr
        * ops.sqrt(1.0 - ops.power(optimizer.beta_2, count))
        / (1.0 - ops.power(optimizer.beta_1, count))
    )
    metric = (
        ops.sqrt(ops.convert_to_tensor(velocities[index])) + optimizer.epsilon
    ) / lr_t
    if not axes:
        return w, 1.0 / metric
    step = 1.0 / ops.mean(metric, axis=axes, keepdims=True)
    return w + first_moment * (1.0 / metric - step), step
