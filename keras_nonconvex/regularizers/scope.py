"""Scopes in which a solver decides how penalties enter the loss."""

import contextlib
import threading

_state = threading.local()


@contextlib.contextmanager
def _set(name, value):
    before = getattr(_state, name, None)
    setattr(_state, name, value)
    try:
        yield
    finally:
        setattr(_state, name, before)


def step(model):
    """The scope of one training or test step of `model`, in this thread."""
    return _set("model", model)


def in_step(model):
    """Whether this thread runs a step of `model`."""
    return getattr(_state, "model", None) is model


def treating(treatment):
    """The scope in which regularizers return `treatment(regularizer, w)`."""
    return _set("treatment", treatment)


def treatment():
    """The function that `treating` has set, or None."""
    return getattr(_state, "treatment", None)
