"""Steps on several replicas of a model, also where batches are uneven."""

from keras_nonconvex.backends import first_batch
from keras_nonconvex.backends import reducible
from keras_nonconvex.backends import strategy_scope


class Replicated:
    """Mends what Keras does with models under a `tf.distribute.Strategy`.

    Write it before the model class. It does nothing on one device.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras on TensorFlow builds a model while its first step is traced,
        # too late for a solver's variables. Under a strategy it builds it
        # earlier, from the mean of the batches of all replicas, which fails
        # where they have different sizes, and with several workers
        # (keras-team/keras#20585).
        if self.built and self._distribute_strategy is None:
            return
        if data_batch is None:
            data_batch = first_batch(self, iterator)
        with strategy_scope(self):
            self._symbolic_build(data_batch=data_batch)

    def train_step(self, *args):
        return reducible(super().train_step(*args))

    def test_step(self, *args):
        return reducible(super().test_step(*args))
