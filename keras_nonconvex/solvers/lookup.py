"""Solvers by name."""

from keras_nonconvex.regularizers import lookup
from keras_nonconvex.solvers.admm import ADMM
from keras_nonconvex.solvers.base import Solver
from keras_nonconvex.solvers.proximal import ProximalGradient
from keras_nonconvex.solvers.slimming import ProximalSlimming
from keras_nonconvex.solvers.splitting import VariableSplitting
from keras_nonconvex.solvers.subgradient import Subgradient

REGISTRY = {
    cls.__name__: cls
    for cls in (
        ADMM,
        ProximalGradient,
        ProximalSlimming,
        Subgradient,
        VariableSplitting,
    )
}


def get(identifier):
    """Returns the solver that a name or a dict of settings means.

    Args:
        identifier: A name, `"VariableSplitting"` or `"variable_splitting"`; a
            dict of a name and arguments, such as
            `{"name": "proximal_gradient", "half_space": 0.5}`; a solver; or
            None.

    Returns:
        A solver, or None.

    Example:
    >>> solver = knc.solvers.get({"name": "subgradient"})
    """
    if identifier is None or isinstance(identifier, Solver):
        return identifier
    if isinstance(identifier, str):
        identifier = {"name": identifier}
    if not isinstance(identifier, dict) or "name" not in identifier:
        raise ValueError(
            "A solver must be given as an object, a name, a dict of its "
            f"settings with its name, or None. Received: {identifier!r}"
        )
    options = {key: v for key, v in identifier.items() if key != "name"}
    cls = lookup.find(REGISTRY, identifier["name"], "solver")
    try:
        return cls.from_config(options)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"Solver {cls.__name__} cannot be made from its settings "
            f"({error}). Received: {identifier!r}"
        ) from error
