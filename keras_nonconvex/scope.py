"""The scope in which a solver decides how penalties enter the loss."""

import contextlib
import threading

_state = threading.local()


def treatment():
    """The function (regularizer, w) -> loss term in force, or None."""
    return getattr(_state, "treatment", None)


@contextlib.contextmanager
def treating(treatment):
    """Penalties that this thread evaluates inside go through `treatment`."""
    before = getattr(_state, "treatment", None)
    _state.treatment = treatment
    try:
        yield
    finally:
        _state.treatment = before
