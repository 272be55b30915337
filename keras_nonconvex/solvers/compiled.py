"""Runs a function of tensors as one fused kernel where Keras would not."""

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
