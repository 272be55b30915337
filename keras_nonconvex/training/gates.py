"""Hard-concrete gates: filters and units that are on or off by chance.

Louizos, Welling, Kingma, Learning Sparse Neural Networks through L0
Regularization, 2018. Each gate is z = clip(1.2 s - 0.1, 0, 1) with

    s = sigmoid((log u - log(1 - u) + log_alpha) / temperature)

and u uniform in (0, 1): it is exactly 0 or 1 with positive probability. The
expected number of gates that are not 0 is differentiable in log_alpha.
"""

import math

import keras
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex.training.model import ProximalModel

LOW, HIGH = -0.1, 1.1


@keras.saving.register_keras_serializable("keras_nonconvex")
class HardConcrete(keras.layers.Layer):
    """Multiplies channels by gates, and adds the price of those that are on.

    In training, a gate is drawn for each channel and step; otherwise it is
    what log_alpha alone gives.

    Args:
        strength: A number >= 0: what a gate costs that is not 0.
        rate: A number in (0, 1): the probability of a gate to be below one
            half at the start. Defaults to `0.5`.
        temperature: A number in (0, 1). Defaults to `2 / 3`.
        **kwargs: The keyword arguments of `keras.layers.Layer`.
    """

    def __init__(self, strength, rate=0.5, temperature=2 / 3, **kwargs):
        super().__init__(**kwargs)
        self.strength = checks.number("strength", strength)
        within = "a number in (0, 1)", lambda v: 0 < v < 1
        self.rate = checks.number("rate", rate, *within)
        self.temperature = checks.number("temperature", temperature, *within)
        self.seeds = keras.random.SeedGenerator()

    def build(self, input_shape):
        start = math.log(1 - self.rate) - math.log(self.rate)
        self.log_alpha = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.RandomNormal(start, 0.01),
            name="log_alpha",
        )

    def open(self):
        """The probability of each gate not to be 0."""
        shift = self.temperature * math.log(-LOW / HIGH)
        return ops.sigmoid(self.log_alpha - shift)

    def gates(self, u=None):
        """The gates.

        Args:
            u: A tensor of numbers in (0, 1), one for each channel, what the
                gates are drawn by; or None for those of a trained model.
                Defaults to `None`.
        """
        if u is None:
            s = ops.sigmoid(self.log_alpha)
        else:
            logit = ops.log(u) - ops.log(1 - u) + self.log_alpha
            s = ops.sigmoid(logit / self.temperature)
        return ops.clip(s * (HIGH - LOW) + LOW, 0.0, 1.0)

    def call(self, inputs, training=False):
        self.add_loss(self.strength * ops.sum(self.open()))
        u = None
        if training:
            u = keras.random.uniform(
                self.log_alpha.shape, 1e-6, 1 - 1e-6, seed=self.seeds
            )
        return inputs * ops.cast(self.gates(u), inputs.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "strength": self.strength,
            "rate": self.rate,
            "temperature": self.temperature,
        }


def gated(model, strength, rate=0.5):
    """A model with a gate on each filter and each input of dense layers.

    A gate costs `strength` times the weights that it switches off.

    Args:
        model: A functional model whose weights are not trained yet: its layers
            are built anew. Activations inside of convolutions must be ReLU or
            none.
        strength: A number >= 0: the price of a weight.
        rate: As for `HardConcrete`. Defaults to `0.5`.

    Returns:
        A `ProximalModel`, to be compiled.

    Example:
    ```python
    model = gated(knc.models.lenet5(), 0.1 / 60000)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y)
    small = knc.prune(ungated(model))
    ```
    """

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.layers.Dense):
            gate = HardConcrete(
                strength * layer.units, rate, name=f"{layer.name}_gates"
            )
            return layer(gate(args[0]), *args[1:], **kwargs)
        x = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.Conv2D):
            size = layer.kernel.shape[:-1]
            price = strength * math.prod(size)
            x = HardConcrete(price, rate, name=f"{layer.name}_gates")(x)
        return x

    clone = keras.models.clone_model(model, call_function=call)
    return ProximalModel(clone.inputs, clone.outputs, name=model.name)


def ungated(model):
    """The model without its gates, whose kernels are multiplied by them.

    Args:
        model: A model that `gated` gave, trained.

    Returns:
        A `keras.Model` with the same outputs, whose filters and inputs of
        closed gates are exactly zero.
    """

    def call(layer, *args, **kwargs):
        if isinstance(layer, HardConcrete):
            return args[0]
        return layer(*args, **kwargs)

    # Not the class of the model, which has no solver here.
    plain = keras.Model(model.inputs, model.outputs, name=model.name)
    clone = keras.models.clone_model(plain, call_function=call)
    for layer in clone.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    for layer in model.layers:
        if isinstance(layer, HardConcrete):
            of = clone.get_layer(layer.name.removesuffix("_gates"))
            gates = layer.gates()
            if isinstance(of, keras.layers.Dense):
                of.kernel.assign(of.kernel * gates[:, None])
            else:
                for weight in of.weights:
                    weight.assign(weight * gates)
    return clone
