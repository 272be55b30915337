"""Run by `test_backends.py` under one backend: writes what it computes.

KERAS_BACKEND=jax JAX_ENABLE_X64=1 python backend_parity.py out.npz
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import penalties
from keras_nonconvex import regularizers

SHAPE = (3, 3, 4, 6)
W = np.random.default_rng(0).normal(size=SHAPE)
W[..., 0] = 0.0
W[:, :, 1, 2] = 1.0
GENERIC = (knc.Elementwise, knc.Group, knc.SparseGroup)


def instances():
    """One of everything, beside a few in other regimes."""
    for name, cls in sorted(penalties.REGISTRY.items()):
        if issubclass(cls, penalties.VectorPenalty):
            yield f"group {name}", knc.Group(cls(), 0.1)
        else:
            yield f"elementwise {name}", knc.Elementwise(cls(), 0.1)
            yield f"group {name}", knc.Group(cls(), 0.1)
        yield f"sparse group {name}", knc.SparseGroup(cls(), 0.1)
    for name, cls in sorted(regularizers.REGISTRY.items()):
        if cls not in GENERIC:
            yield name, cls(strength=0.1)
    yield "debiased", knc.GroupSparseEnvelope(2, 0.1, debiased=True)
    for base in ("group_lasso", "exclusive", "group_half"):
        for wrap in ("none", "root", "square"):
            reg = knc.HierarchicalGroup(base, wrap, strength=0.1)
            yield f"{base} {wrap}", reg


def distinct():
    """Without those that only give a name to one before them."""
    known = set()
    for name, reg in instances():
        cls = type(reg)
        computes = cls.__call__, cls.proximal, repr(vars(reg))
        if computes not in known:
            known.add(computes)
            yield name, reg


def compiled(function):
    """On JAX compiled as a whole, as in training; else each operation is."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def compute():
    """name -> array: values, proxes at two steps, projections."""
    found = {}
    for dtype in ("float64", "float32"):
        w = ops.convert_to_tensor(W, dtype)
        for name, reg in distinct():
            found[f"{name} {dtype} value"] = compiled(reg.__call__)(w)
            if reg.has_prox:
                proximal = compiled(reg.proximal)
                for step in (0.01, 2.0):
                    key = f"{name} {dtype} prox {step}"
                    step = ops.convert_to_tensor(step, dtype)
                    found[key] = proximal(w, step)
        for k in (1, 2, 7):
            keep = knc.constraints.MaxNonzero(k)
            found[f"nonzero {dtype} {k}"] = keep(w)
            keep = knc.constraints.MaxActiveGroups(k, "kernels")
            found[f"groups {dtype} {k}"] = keep(w)
    return {k: ops.convert_to_numpy(v) for k, v in found.items()}


def gradients_are_finite():
    """Trains stock layers for a step from a kernel with zeros."""
    inputs = keras.Input((5, 5, 4))
    convs = [
        keras.layers.Conv2D(6, 3, kernel_regularizer=reg)
        for name, reg in instances()
        # The others are as elementwise, with the norm in between.
        if not name.startswith(("group ", "sparse group "))
    ]
    model = keras.Model(inputs, [conv(inputs) for conv in convs])
    for conv in convs:
        conv.kernel.assign(W)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x = np.ones((2, 5, 5, 4), "float32")
    y = np.zeros((2, 3, 3, 6), "float32")
    model.train_on_batch(x, [y] * len(convs))
    for conv in convs:
        kernel = ops.convert_to_numpy(conv.kernel)
        assert np.isfinite(kernel).all(), conv.kernel_regularizer
        assert not np.array_equal(kernel, W.astype("float32"))


if __name__ == "__main__":
    np.savez(sys.argv[1], **compute())
    if "--gradients" in sys.argv:
        gradients_are_finite()
