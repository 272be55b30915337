"""New layers, models, optimizers and metrics from the configs of old ones."""

import contextlib
import inspect

import keras
import numpy as np


def anew(old, edited=lambda config: config):
    """A new object from the config of an old one.

    A function, or an object of a class that is not registered, stays the
    object that it is on its way through the config: it serves both.
    Initializers that may know the full shape become zeros, since the weights
    of the new object are set. What a layer's config forgets is added from
    Keras' record of the arguments that the layer was made with.

    Args:
        old: A Keras layer or model, optimizer or metric.
        edited: A function of the config that returns what the new object is
            made from. Defaults to the config as it is.
    """
    with _describable(old) as put_back:
        config = {**_recorded(old), **put_back(old.get_config())}
        return _made(old, edited(config))


def _made(old, config):
    """A new object; what an own constructor does not take is set after it."""
    kind, own = type(old), isinstance(old, keras.layers.Layer)
    taken = inspect.signature(kind).parameters.values()
    if not own or is_keras(old) or any(p.kind is p.VAR_KEYWORD for p in taken):
        return kind.from_config(config)
    known = {parameter.name for parameter in taken}
    later = {"name", "trainable", "dtype"} - known
    new = kind.from_config({k: v for k, v in config.items() if k not in later})
    new.name, new.trainable = old.name, old.trainable
    new.dtype_policy = old.dtype_policy
    return new


def _recorded(old):
    """The own arguments that a layer was made with, as far as Keras knows."""
    kind, known = type(old), getattr(old, "_auto_config", None)
    default = keras.layers.Layer.from_config.__func__
    if not known or is_keras(old) or kind.from_config.__func__ != default:
        return {}
    own = inspect.signature(kind).parameters
    return {k: v for k, v in known.config.items() if k in own}


@contextlib.contextmanager
def _describable(old):
    """A scope in which any object's config can be made and read back.

    Yields:
        A function of the config that ends the first part: it returns the
        config with the objects that Keras put into it as they are.
    """
    held = []

    class Held:
        """Stands for an object in a config."""

        def __init__(self, value):
            self.value = value

        def __getattr__(self, name):
            return getattr(self.value, name)

        def __call__(self, *args, **kwargs):
            return self.value(*args, **kwargs)

        def get_config(self):
            held.append(self.value)
            return {"place": len(held) - 1}

        @classmethod
        def from_config(cls, config):
            return held[config["place"]]

    changed = []

    def put_back(config=None):
        while changed:
            state, name, value = changed.pop()
            state[name] = value
        return keras.tree.map_structure(
            lambda v: v.value if isinstance(v, Held) else v, config
        )

    for owner in _owners(old):
        state = vars(owner)
        for name, value in list(state.items()):
            described = _described(name, value, Held)
            if described is not value:
                changed.append((state, name, value))
                state[name] = described
    # Layers of classes that are not registered may be inside.
    classes = {type(owner).__name__: type(owner) for owner in _owners(old)}
    with keras.saving.custom_object_scope({**classes, "Held": Held}):
        try:
            yield put_back
        finally:
            put_back()


def _owners(old):
    """An object, and the layers or the optimizer inside of it."""
    if isinstance(old, keras.layers.Layer):
        return old._flatten_layers()
    return [old, *filter(None, [getattr(old, "inner_optimizer", None)])]


def _described(name, value, held):
    """What stands for an attribute while a config is made."""
    if isinstance(value, keras.initializers.Initializer) or (
        name.endswith("initializer") and callable(value)
    ):
        return value if _fits_any_shape(value) else keras.initializers.Zeros()
    if (
        not callable(value)
        or isinstance(value, (keras.layers.Layer, keras.Variable))
        or is_keras(value)
        or _is_registered(type(value))
    ):
        return value
    return held(value)


def _is_registered(cls):
    name = keras.saving.get_registered_name(cls)
    return keras.saving.get_registered_object(name) is cls


def _fits_any_shape(initializer):
    if isinstance(initializer, keras.initializers.Constant):
        return np.size(initializer.value) == 1
    return is_keras(initializer)


def is_keras(value):
    """Whether an object is of a class of Keras itself."""
    return type(value).__module__.split(".")[0] == "keras"


def cause(error):
    """What went wrong, without the configs that Keras prints with it.

    Args:
        error: An exception.

    Returns:
        A string, the last paragraph of what Keras says.
    """
    text = str(error).rpartition("Exception encountered:")[2]
    for appendix in ("Full object config:", "Example:"):
        text = text.partition(appendix)[0]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return ([part for part in paragraphs if part] or [type(error).__name__])[-1]
