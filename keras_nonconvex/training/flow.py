"""Feature flow regularization: features that change little on their way.

Wu, Xiao, Ling, Feature Flow Regularization: Improving Structured Sparsity in
Deep Neural Networks, 2021. The outputs h_1, ..., h_L of blocks, of equal shape,
are points of a path, whose length and curvature are penalised:

    length * sum_l |h_{l+1} - h_l|_1
    + curvature * sum_l |h_{l+1} - 2 h_l + h_{l-1}|_1
"""

import itertools

import keras
from keras import ops

from keras_nonconvex import checks
from keras_nonconvex import graph
from keras_nonconvex import layer_names
from keras_nonconvex import unfolding
from keras_nonconvex.training.model import ProximalModel


def feature_flow(model, layers, length, curvature):
    """Adds a penalty of the way that features take through a model.

    Features that equal each other from block to block need few filters
    between them. After training, take the penalty off by `knc.strip`, and
    prune by the norms of the filters.

    Args:
        model: A built model.
        layers: A layer name pattern with shell wildcards, such as
            `"*_add"`, or a list of them: the layers whose outputs are the
            points of the path, in the order of the model. A new path begins
            where the shape changes.
        length: A number >= 0, the factor of the length of a path: the sum over
            its steps and over all entries of a feature, the mean over samples.
        curvature: A number >= 0, the factor of its curvature, measured
            likewise.

    Returns:
        A `ProximalModel` over the same layers and weights, to be compiled.

    Raises:
        ValueError: No two of the outputs that follow each other have the same
            shape.

    Example:
    ```python
    model = knc.models.resnet(20)
    model = knc.feature_flow(model, "*_add", length=1e-7, curvature=1e-7)
    model.compile("sgd", "sparse_categorical_crossentropy")
    ```
    """
    model = unfolding.functional(model)
    patterns = [layers] if isinstance(layers, str) else layers
    features = [
        node.outputs[0]
        for node in graph.nodes(model)
        if any(layer_names.matches(p, node.operation.name) for p in patterns)
    ]
    flow = FeatureFlow(length, curvature, name="feature_flow")
    if all(len(path) < 2 for path in flow.paths(features)):
        raise ValueError(
            "Argument `layers` must match layers that follow each other and "
            "whose outputs have the same shape. "
            f"Received: layers={layers!r}, whose outputs have the shapes "
            f"{[feature.shape[1:] for feature in features]}"
        )
    first, *others = keras.tree.flatten(model.output)
    outputs = keras.tree.pack_sequence_as(
        model.output, [flow(first, features), *others]
    )
    return ProximalModel(model.input, outputs, name=model.name)


def without_flow(outputs):
    """The outputs of a model, taken before a `FeatureFlow`.

    Args:
        outputs: A structure of the symbolic outputs.
    """

    def before(tensor):
        layer, node, _ = tensor._keras_history
        if not isinstance(layer, FeatureFlow):
            return tensor
        return layer._inbound_nodes[node].arguments.args[0]

    return keras.tree.map_structure(before, outputs)


@keras.saving.register_keras_serializable("keras_nonconvex")
class FeatureFlow(keras.layers.Layer):
    """Returns its first input, and adds the penalty of the others' path.

    Args:
        length: As for `feature_flow`.
        curvature: As for `feature_flow`.
        **options: The arguments of every Keras layer.
    """

    def __init__(self, length, curvature, **options):
        super().__init__(**options)
        self.length = checks.number("length", length)
        self.curvature = checks.number("curvature", curvature)

    def call(self, output, features):
        loss = 0.0
        for path in self.paths(features):
            steps = _differences(path)
            loss += self.length * _size(steps)
            loss += self.curvature * _size(_differences(steps))
        self.add_loss(loss)
        return output

    def paths(self, features):
        """Features of one shape that follow each other, a list for each path.

        Args:
            features: A list of tensors.
        """
        groups = itertools.groupby(features, key=lambda h: tuple(h.shape[1:]))
        return [list(path) for _, path in groups]

    def get_config(self):
        return {
            **super().get_config(),
            "length": self.length,
            "curvature": self.curvature,
        }


def _differences(path):
    return [after - before for before, after in itertools.pairwise(path)]


def _size(steps):
    """The sum of the magnitudes in all steps, the mean over samples."""
    total = 0.0
    for step in steps:
        each = ops.abs(ops.cast(step, "float32"))
        total += ops.sum(ops.mean(each, axis=0))
    return total
