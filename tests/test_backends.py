"""The same results on TensorFlow, JAX and torch; golden values in float64."""

import os
import pathlib
import re
import subprocess
import sys

import backend_parity
import backend_training
import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BACKENDS = ["jax", "torch"]


def child(backend, *command):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_ENABLE_X64": "1",
            # Compiling takes longer than computing.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def here():
    return backend_parity.compute()


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_results(backend, here, tmp_path):
    out = tmp_path / "found.npz"
    child(backend, "tests/backend_parity.py", out, "--gradients")
    found = np.load(out)
    assert set(found) == set(here)
    for name, expected in here.items():
        assert found[name].dtype == expected.dtype, name
        single = expected.dtype == np.float32
        np.testing.assert_allclose(
            found[name],
            expected,
            rtol=2e-5 if single else 1e-9,
            atol=2e-6 if single else 1e-11,
            err_msg=name,
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden_values(backend):
    out = child(
        backend,
        "-m",
        "pytest",
        "tests/test_penalties.py",
        "tests/test_sparse_group.py",
        "-k",
        "golden",
        "-p",
        "no:cacheprovider",
    )
    assert int(re.search(r"(\d+) passed", out)[1]) >= 20


# Compiling takes long on JAX, computing on torch.
SOME = (
    "strength_zero or logged_loss or saved_in_the_middle or refused "
    "or never_rises or (fixed_point and sgd) or splitting or admm_stages or "
    "slimming or frozen or shared or accumulated or no_number or weight_files"
)
ALL = "not eager and not deep_net"
TRAINING = {
    "jax": ALL if "FUZZ_GRAPHS" in os.environ else SOME,
    "torch": SOME,
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_training(backend):
    out = child(
        backend,
        "-m",
        "pytest",
        "tests/test_training.py",
        "tests/test_solvers.py",
        "tests/test_conditions.py",
        "tests/test_strength.py",
        "tests/test_recovery.py",
        "-k",
        TRAINING[backend],
        "-p",
        "no:cacheprovider",
    )
    assert int(re.search(r"(\d+) passed", out)[1]) >= 30


def test_backends_agree_on_real_images(fashion_mnist, tmp_path):
    """200 steps from the same weights: the same filters die."""
    count = 200 * backend_training.BATCH
    weights = backend_training.network().get_weights()
    given = tmp_path / "given.npz"
    np.savez(
        given,
        x=fashion_mnist.x_train[:count],
        y=fashion_mnist.y_train[:count],
        **{f"w{i}": w for i, w in enumerate(weights)},
    )
    found = {}
    for backend in ("tensorflow", *BACKENDS):
        try:
            __import__(backend)
        except ImportError:
            continue
        out = tmp_path / f"{backend}.npz"
        if backend == keras.backend.backend():
            backend_training.main(given, out)
        else:
            child(backend, "tests/backend_training.py", given, out)
        found[backend] = dict(np.load(out))
    assert len(found) >= 2
    first = found["tensorflow"]
    assert 10 < first["alive"].sum() < first["alive"].size - 10
    for backend, other in found.items():
        agree = np.mean(first["alive"] == other["alive"])
        assert agree >= 0.95, backend
        assert other["loss"] == pytest.approx(first["loss"], rel=0.02)
