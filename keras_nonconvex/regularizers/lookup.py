"""Regularizers and penalties by name."""

import difflib
import re

import keras

from keras_nonconvex import penalties
from keras_nonconvex.regularizers.base import REGISTRY


def get(identifier):
    """Returns the regularizer that a name or a dict of settings means.

    Args:
        identifier: One of
            - a name, `"SparseGroupTL1"` or `"sparse_group_tl1"`, for a
              regularizer with the default arguments of its class;
            - a dict of a name and arguments,
              `{"name": "sparse_group_tl1", "strength": 1e-4}`;
            - a name of Keras' own, `"l1"`, `"l2"` or `"l1l2"`;
            - a serialized Keras object, a regularizer, or None.

    Example:
    ```python
    regularizer = knc.regularizers.get({"name": "group_mcp", "knee": 0.05})
    ```
    """
    if isinstance(identifier, str):
        identifier = {"name": identifier}
    if isinstance(identifier, dict) and "name" not in identifier:
        identifier = keras.regularizers.get(identifier)
    elif identifier in [{"name": name} for name in ("l1", "l2", "l1l2")]:
        identifier = keras.regularizers.get(identifier["name"])
    if isinstance(identifier, dict):
        options = {k: v for k, v in identifier.items() if k != "name"}
        cls = find(REGISTRY, identifier["name"], "regularizer")
        try:
            return cls.from_config(options)
        except TypeError as error:
            raise ValueError(
                f"Regularizer {cls.__name__} cannot be made from its "
                f"settings ({error}). Received: {identifier!r}"
            ) from error
    if identifier is None or isinstance(
        identifier, keras.regularizers.Regularizer
    ):
        return identifier
    raise ValueError(
        "A regularizer must be given as an object, a name, a dict of its "
        f"settings, or None. Received: {identifier!r}"
    )


def penalty(spec):
    """Returns the penalty of "l1", {"name": "l1", ...} or a serialized one."""
    if isinstance(spec, str):
        spec = {"name": spec}
    if "class_name" in spec:
        spec = {"name": spec["class_name"], **spec.get("config", {})}
    options = {key: value for key, value in spec.items() if key != "name"}
    cls = find(penalties.REGISTRY, spec.get("name"), "penalty")
    return cls(**options)


def find(registry, name, kind):
    """Returns the class of a name, or raises an error with the nearest names.

    Args:
        registry: Dict from class names to classes.
        name: String, a class name or its snake_case form.
        kind: String, what is looked up, for the message.
    """
    names = {snake(key): key for key in registry}
    known = names.get(snake(str(name)))
    if known is None:
        near = difflib.get_close_matches(snake(str(name)), names, 3, 0.5)
        near = ", ".join(names[key] for key in near or sorted(names))
        raise ValueError(
            f"Unknown {kind}. Near names: {near}. Received: {kind}={name!r}"
        )
    return registry[known]


def snake(name):
    """Returns "sparse_group_tl1" for "SparseGroupTL1"."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"(?<=[A-Z0-9])(?=[A-Z][a-z])", "_", name).lower()
