"""The scope in which penalties keep their value and drop their gradient."""

import contextlib
import threading

_state = threading.local()


def is_proximal():
    """Whether a solver in this thread will apply the prox itself."""
    return getattr(_state, "proximal", False)


@contextlib.contextmanager
def proximal():
    """Detaches every penalty that is evaluated inside."""
    before = is_proximal()
    _state.proximal = True
    try:
        yield
    finally:
        _state.proximal = before
