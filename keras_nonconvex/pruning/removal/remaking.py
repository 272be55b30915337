"""New layers from the configs of old ones."""

import tempfile

import keras

from keras_nonconvex import configs
from keras_nonconvex import layouts
from keras_nonconvex.pruning import rules
from keras_nonconvex.unfolding import recording


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
    if rules.inmost(layer) is not layer:
        return {"layer": {"config": with_bias(layer.layer)}}
    if isinstance(layer, keras.layers.EinsumDense):
        _, _, result = layouts.einsum_letters(layer)
        axes = rules.find(layer).bias_axes(layer)
        return {"bias_axes": "".join(result[axis] for axis in axes)}
    return {"use_bias": True}


def copy_of_operation(operation, changes):
    """A copy of a stateless operation without the old model's calls."""
    if changes:
        try:
            config = operation.get_config()
        except NotImplementedError:
            # Arrays are no config; then the changes are all there is.
            config = {"name": operation.name}
        return type(operation).from_config({**config, **changes})
    return recording.view(operation)


def remade(layer, changes, known):
    """A new layer from the config of an old one.

    Args:
        layer: The old layer.
        changes: A dict of config entries that change, nested as configs are.
        known: {identity of an old layer: the new one}. Layers that a config
            hands over as they are get one here, if they have none.
    """

    def edited(config):
        config = merged(_plain(config), changes)
        for key in config:
            activation = getattr(layer, key, None)
            if key.endswith("activation") and _is_layer(activation):
                config[key] = _own(activation, known, build=False)
        return _own(config, known)

    try:
        return configs.anew(layer, edited)
    except Exception as error:
        if not layer.weights and not changes:
            return copy_of_operation(layer, {})
        # What it was made with may do where its own config does not.
        given = getattr(layer, "_auto_config", None)
        if given is not None and not changes:
            return type(layer)(**{**given.config, "name": layer.name})
        raise ValueError(
            f"Layer '{layer.name}' cannot be made anew from its config: "
            f"{configs.cause(error)} Received: {type(layer).__name__}"
        ) from error


def check(layers):
    """Refuses layers that cannot be made anew.

    Args:
        layers: {name: layer}.
    """
    for name, layer in layers.items():
        inside = layer._flatten_layers()
        modes = {getattr(part, "quantization_mode", None) for part in inside}
        if "float8" in modes:
            raise ValueError(
                f"Layer '{name}' cannot be made anew, since it is quantized: "
                "prune first, then call quantize('float8') on the small "
                "model. Received: quantization_mode='float8'"
            )
        if not all(map(configs.is_keras, inside)):
            remade(layer, {}, {})


def _own(value, known, build=True):
    """A value of a config with new layers in place of old ones.

    Args:
        value: The value; dicts, lists and tuples are searched.
        known: As in `remade`.
        build: Whether new layers get their weights at once. Those that are
            called get them then, of the size that is left. Defaults to
            `True`.
    """
    if isinstance(value, dict):
        return {k: _own(v, known, build) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_own(v, known, build) for v in value)
    if not _is_layer(value):
        return value
    if identity(value) not in known:
        if isinstance(value, keras.Model):
            new = keras.models.clone_model(value)
        else:
            new = remade(value, {}, known)
        if build and value.built:
            if not new.built:
                new.build_from_config(value.get_build_config())
            new.set_weights(value.get_weights())
        known[identity(value)] = new
    return known[identity(value)]


def identity(layer):
    """What a layer has in common with its views in an unfolded model."""
    variables = getattr(layer, "variables", ())
    return (type(layer), *(map(id, variables) if variables else [id(layer)]))


def build_activation(old, new, outputs):
    """Builds an activation that is a layer: Keras does at the first data.

    Args:
        old: The old layer.
        new: The new layer.
        outputs: What the new layer returned, symbolic tensors.
    """
    activation = getattr(new, "activation", None)
    if isinstance(activation, keras.layers.Layer) and old.activation.built:
        if not activation.built:
            activation.build(outputs.shape)


def copy_state(old, new):
    """Copies what preprocessing layers learn beside their weights."""
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    if hasattr(new, "finalize_state"):
        new.finalize_state()


def _is_layer(value):
    return isinstance(value, keras.layers.Layer)


def merged(config, changes):
    """A nested config with changes."""
    return {
        **config,
        **{
            key: merged(config[key], value)
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
