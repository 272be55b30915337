"""New layers from the configs of old ones."""

import copy
import tempfile

import keras

from keras_nonconvex import layouts
from keras_nonconvex.pruning import rules


def new_input(node, tensor):
    """An input like an old one, of the size of a new tensor.

    Args:
        node: Keras' record of the old input.
        tensor: The tensor that is to enter, which may have fewer channels.

    Returns:
        The symbolic tensor of the new input.
    """
    layer = node.operation
    config = layer.get_config()
    config["batch_shape"] = (
        config["batch_shape"][0],
        *(
            None if old is None else new
            for old, new in zip(
                config["batch_shape"][1:], tensor.shape[1:], strict=True
            )
        ),
    )
    return type(layer).from_config(config).output


def with_bias(layer):
    """What changes in the config of a layer that gets a bias."""
    if isinstance(layer, keras.layers.EinsumDense):
        _, _, result = layouts.einsum_letters(layer)
        axes = rules.find(layer).bias_axes(layer)
        return {"bias_axes": "".join(result[axis] for axis in axes)}
    return {"use_bias": True}


def copy_of_operation(operation, changes):
    """A copy of a stateless operation without the old model's calls."""
    if changes:
        return type(operation).from_config(
            {**operation.get_config(), **changes}
        )
    new = copy.copy(operation)
    new._inbound_nodes, new._outbound_nodes = [], []
    return new


def remade(layer, changes):
    """A new layer from the config of an old one.

    Args:
        layer: The old layer.
        changes: A dict of config entries that change, nested as configs are.
    """
    try:
        config = _merged(_plain(layer.get_config()), changes)
        # Some activations cannot be stored in a config.
        if "activation" in config:
            config["activation"] = layer.activation
        return type(layer).from_config(config)
    except Exception as error:
        if not layer.weights and not changes:
            return copy_of_operation(layer, {})
        (first, *_) = str(error).splitlines() or [""]
        raise ValueError(
            f"Layer '{layer.name}' cannot be made anew from its config: "
            f"{first} Received: {type(layer).__name__}"
        ) from error


def copy_state(old, new):
    """Copies what preprocessing layers learn beside their weights."""
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    if hasattr(new, "finalize_state"):
        new.finalize_state()


def _merged(config, changes):
    """A nested config with changes."""
    return {
        **config,
        **{
            key: _merged(config[key], value)
            if isinstance(value, dict) and isinstance(config.get(key), dict)
            else value
            for key, value in changes.items()
        },
    }


def _plain(config):
    """A layer's config without this package's regularizers.

    Plain Keras can load the result, since the penalty has done its work. The
    shapes for which the layers in a wrapper were built are left out, too.
    """
    if isinstance(config, list):
        return [_plain(v) for v in config]
    if not isinstance(config, dict):
        return config
    return {
        key: None
        if key.endswith("_regularizer")
        and isinstance(value, dict)
        and str(value.get("registered_name")).startswith("keras_nonconvex>")
        else _plain(value)
        for key, value in config.items()
        if key != "build_config"
    }
