"""What the backends need beyond `keras.ops`: XLA, strategies, no tape."""

import contextlib
import functools

import keras


def traced(function):
    """The function as one graph on the TensorFlow backend, not op by op."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)


def compiled(function=None, any_shape=False):
    """The function, compiled by XLA where it is called in a TensorFlow graph.

    Keras leaves XLA off on TensorFlow's CPU, where the few dozen elementwise
    operations of a prox then cost several passes each. JAX compiles the whole
    step anyway. Calls with equal settings and shapes share one compilation,
    in all models, and it happens when the first of them runs.

    Args:
        function: Callable that takes tensors by position and hashable settings
            by keyword.
        any_shape: Boolean, whether one trace serves all shapes: the function
            must then not read static shapes.
    """
    if function is None:
        return functools.partial(compiled, any_shape=any_shape)

    @functools.lru_cache(maxsize=1024)
    def graph(specs, settings):
        import tensorflow as tf

        def call(*tensors):
            return function(*tensors, **dict(settings))

        call.__name__ = function.__name__
        return tf.function(
            call, input_signature=specs, jit_compile=True, autograph=False
        )

    @functools.wraps(function)
    def call(*tensors, **settings):
        if not _in_a_graph():
            return function(*tensors, **settings)
        import tensorflow as tf

        dtype = tensors[0].dtype
        tensors = [
            t if tf.is_tensor(t) else tf.convert_to_tensor(t, dtype)
            for t in tensors
        ]
        specs = tuple(
            tf.TensorSpec(
                [None] * len(t.shape) if any_shape else t.shape, t.dtype
            )
            for t in tensors
        )
        return graph(specs, tuple(sorted(settings.items())))(*tensors)

    return call


def _in_a_graph():
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def strategy_scope(model):
    """The scope in which new variables belong to the model's strategy."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    return model.distribute_strategy.scope()


def first_batch(model, iterator):
    """The batch that this worker's first replica would see first."""
    _, _, batches = next(iter(iterator))
    return keras.tree.map_structure(
        lambda value: model.distribute_strategy.experimental_local_results(
            value
        )[0],
        next(batches),
    )


def reducible(logs):
    """Logs of a step as Keras can average them over several workers.

    It does so along an axis that scalars do not have (Keras 3.15).
    """
    if not _in_a_replica():
        return logs
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return logs
    return keras.tree.map_structure(
        lambda value: tf.reshape(value, (1,)) if value.shape == () else value,
        logs,
    )


def replicas():
    """The number of replicas whose gradients are summed."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def assign(variables, values):
    """Assigns values to variables, also under a `tf.distribute.Strategy`.

    Each replica calls it with the same values, or it is called outside of any
    replica.

    Args:
        variables: A list of Keras variables.
        values: A list of tensors in their shapes.
    """
    if _in_a_replica():
        _assign_on_replicas(variables, values)
    else:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _in_a_replica():
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return (
        tf.distribute.has_strategy()
        and not tf.distribute.in_cross_replica_context()
    )


def _assign_on_replicas(variables, values):
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
