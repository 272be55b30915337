"""`Freeze`: zeros stay zero."""

import keras

from keras_nonconvex import regularizers


class Freeze(keras.callbacks.Callback):
    """Keeps weights that are zero when training begins exactly zero.

    It acts on all trainable weights: kernels of all kinds, scales of
    normalization, slopes of PReLU, weights of your own layers. Biases and
    shifts (names with "bias", "beta") often start at zero, and so they stay
    free unless they have a penalty. It serves any Keras model.

    Args:
        part: A model inside of the one that is trained, to keep the zeros of
            this part only; None for the whole model. Defaults to `None`.

    Example:
    >>> model.fit(x, y, epochs=5, callbacks=[knc.callbacks.Freeze()])
    """

    def __init__(self, part=None):
        super().__init__()
        self.part = part

    def on_train_begin(self, logs=None):
        self._before = []
        for weight in (self.part or self.model).trainable_variables:
            if _starts_at_zero(weight):
                continue
            inner = weight.constraint
            # An interrupted training leaves its mask.
            if isinstance(inner, Mask):
                inner = inner.inner
            self._before.append((weight, inner))
            weight.constraint = Mask(weight, inner)
        self._retrace()

    def on_train_end(self, logs=None):
        for weight, constraint in self._before:
            weight.constraint = constraint
        self._retrace()

    def _retrace(self):
        # A step that is compiled already does not know the constraint.
        self.model.make_train_function(force=True)


def _starts_at_zero(weight):
    """Whether zeros of a weight mean that it has not been trained yet."""
    if isinstance(weight.regularizer, regularizers.Regularizer):
        return False
    return any(word in weight.name for word in ("bias", "beta", "lora_"))


class Mask(keras.constraints.Constraint):
    """Keeps what is zero in a weight now at zero."""

    def __init__(self, weight, inner):
        self.mask = keras.ops.convert_to_numpy(weight) != 0
        self.inner = inner

    def __call__(self, w):
        w = w if self.inner is None else self.inner(w)
        return w * keras.ops.cast(self.mask, w.dtype)
