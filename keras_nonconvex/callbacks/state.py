"""The state of a model in training, as callbacks read and set it."""

import contextlib

from keras import ops


def finished(model):
    """The scope in which the weights are those that the solver leaves."""
    solver = getattr(model, "solver", None)
    if solver is None:
        return contextlib.nullcontext()
    return solver.finished(model)


def strength_of(model, callback):
    """The number that multiplies the strengths of a model."""
    state = getattr(model, "solver_state", None)
    if state is None:
        raise ValueError(
            f"{callback} needs a knc.ProximalModel; knc.attach makes one. "
            f"Received: model={model.name!r} ({type(model).__name__})"
        )
    return ops.convert_to_numpy(state.strength).item()


def set_strength(model, value):
    synced(model).solver_state.strength.assign(value)


def spare_of(model):
    """The share of the groups beyond k that envelopes leave for now."""
    state = getattr(model, "solver_state", None)
    if state is None or state.spare is None:
        raise ValueError(
            "CountSchedule needs a compiled knc.ProximalModel with a "
            "GroupSparseEnvelope or a CoupledEnvelope. "
            f"Received: model={model.name!r} ({type(model).__name__})"
        )
    return ops.convert_to_numpy(state.spare).item()


def set_spare(model, value):
    synced(model).solver_state.spare.assign(value)


def synced(model):
    """The model, with the values of this step in its variables.

    On JAX an epoch keeps them outside of the variables.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    return model
