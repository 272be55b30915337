"""What TFMOT does with the twin: quantize, cluster; runs in the worker."""

import tensorflow_model_optimization as tfmot
import tf_keras
import twin
from tensorflow_model_optimization.python.core.clustering.keras.experimental import (  # noqa: E501
    cluster as experimental,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (  # noqa: E501
    default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (  # noqa: E501
    default_8bit_quantize_configs as configs,
)

_CUSTOM = {
    "Function": twin.Function,
    "Default8BitOutputQuantizeConfig": configs.Default8BitOutputQuantizeConfig,
    "NoOpQuantizeConfig": configs.NoOpQuantizeConfig,
}
_ACTIVATIONS = ("gelu", "linear", "sigmoid", "softmax", "swish", "tanh")
_BEFORE_BATCH_NORMALIZATION = (
    tf_keras.layers.Conv2D,
    tf_keras.layers.DepthwiseConv2D,
    tf_keras.layers.Dense,
)


def quantized(model, keep_zeros, keep_clusters):
    """The model with fake quantization, as TFMOT places it.

    Layers that TFMOT does not know are quantized at their output.
    """
    quantization = tfmot.quantization.keras
    if keep_clusters:
        scheme = ClusterPreserving(keep_zeros)
    elif keep_zeros:
        scheme = (
            quantization.collab_opts.Default8BitPrunePreserveQuantizeScheme()
        )
    else:
        scheme = quantization.default_8bit.Default8BitQuantizeScheme()
    with quantization.quantize_scope(_CUSTOM):
        annotated = tf_keras.models.clone_model(
            model, clone_function=_annotated
        )
        annotated.set_weights(model.get_weights())
        return quantization.quantize_apply(
            annotated, scheme, quantized_layer_name_prefix=""
        )


def _annotated(layer):
    quantization = tfmot.quantization.keras
    # None stands for TFMOT's own configuration.
    config = None
    if _keeps_range(layer):
        config = configs.NoOpQuantizeConfig()
    elif not _known(layer):
        config = configs.Default8BitOutputQuantizeConfig()
    return quantization.quantize_annotate_layer(layer, config)


def _keeps_range(layer):
    """Whether LiteRT wants input and output in the same range."""
    return (
        isinstance(layer, tf_keras.layers.AveragePooling2D)
        or getattr(layer, "function", None) in twin.MOVING
    )


def _known(layer):
    """Whether TFMOT knows where to quantize a layer."""
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        # The last call of the layer is that of the last model made of it.
        node = layer._inbound_nodes[-1]
        return isinstance(node.inbound_layers, _BEFORE_BATCH_NORMALIZATION)
    if isinstance(layer, tf_keras.layers.Activation):
        return layer.activation.__name__ in _ACTIVATIONS
    registry = tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry
    return registry().supports(layer)


class ClusterPreserving(
    cluster_preserve.Default8BitClusterPreserveQuantizeScheme
):
    """TFMOT's scheme, with a quantizer for each layer.

    TFMOT's own scheme shares one quantizer, which no longer preserves zeros
    in any layer once it has met a layer without zeros.
    """

    def get_quantize_registry(self):
        return _Fresh(super().get_quantize_registry)


class _Fresh:
    def __init__(self, make):
        self.make = make

    def supports(self, layer):
        return self.make().supports(layer)

    def get_quantize_config(self, layer):
        return self.make().get_quantize_config(layer)


def clustered(model, clusters, keep_zeros):
    """The model with the kernels of Conv2D and Dense layers clustered."""
    clustering = tfmot.clustering.keras
    options = {
        "number_of_clusters": clusters,
        "cluster_centroids_init": (
            clustering.CentroidInitialization.KMEANS_PLUS_PLUS
        ),
        "preserve_sparsity": keep_zeros,
    }

    def clustered_layer(layer):
        clusterable = type(layer) in (
            tf_keras.layers.Conv2D,
            tf_keras.layers.Dense,
        )
        if clusterable and layer.kernel.shape.num_elements() > clusters:
            return experimental.cluster_weights(layer, **options)
        return layer

    with tf_keras.utils.custom_object_scope(_CUSTOM):
        return tf_keras.models.clone_model(
            model, clone_function=clustered_layer
        )


def stripped(model):
    """The model with its clustered weights in plain layers."""
    with tf_keras.utils.custom_object_scope(_CUSTOM):
        return tfmot.clustering.keras.strip_clustering(model)
