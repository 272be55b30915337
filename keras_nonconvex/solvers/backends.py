"""What the backends need beyond `keras.ops`: XLA, strategies, no tape."""

import contextlib

import keras


def compiled(function):
    """`function`, compiled by XLA on the TensorFlow backend.

    Keras leaves XLA off on TensorFlow's CPU, where the few dozen elementwise
    operations of a prox then cost several passes each. JAX compiles the whole
    step anyway.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def strategy_scope(model):
    """The scope in which new variables belong to the model's strategy."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return model.distribute_strategy.scope()


def build_before_training(model):
    """Has `fit` build an unbuilt model from its data, as on JAX and torch.

    TensorFlow builds it while the first step is traced, which is too late for
    variables in the shapes of weights; but not under a strategy.
    """
    if keras.backend.backend() == "tensorflow":
        model._distribute_strategy = model.distribute_strategy


def replicas():
    """The number of replicas whose gradients are summed."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def assign(variables, values):
    """Assigns to variables, on every replica of a `tf.distribute.Strategy`.

    Called by each replica, with values that are the same on all.
    """
    if keras.backend.backend() != "tensorflow":
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return
    import tensorflow as tf

    def update(strategy, values):
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(
                variable.value,
                lambda variable, value: variable.assign(value),
                args=(value,),
                group=False,
            )

    tf.__internal__.distribute.interim.maybe_merge_call(
        update, tf.distribute.get_strategy(), list(values)
    )


def no_gradients():
    """A scope in which torch records nothing for a backward pass."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()
