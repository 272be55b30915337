"""Timing as on a phone: without Intel's matrix unit."""

import ctypes
import platform
import sys


def refuse():
    """Keeps the runtime off Intel's matrix unit, on Linux.

    No phone has one, and XNNPACK's int8 kernels for it compute 64 channels
    where there are fewer, so that narrow layers all take the same time. The
    kernel grants it only to processes whose signal stacks could hold its
    registers; this one's cannot.

    Returns:
        The memory of the stack, which must live as long as the process.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None

    class Stack(ctypes.Structure):
        _fields_ = [
            ("start", ctypes.c_void_p),
            ("flags", ctypes.c_int),
            ("size", ctypes.c_size_t),
        ]

    memory = ctypes.create_string_buffer(8192)
    stack = Stack(ctypes.addressof(memory), 0, len(memory))
    ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None)
    return memory
