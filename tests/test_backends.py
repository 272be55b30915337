"""The same results on TensorFlow, JAX and torch; golden values in float64."""

import os
import pathlib
import re
import subprocess
import sys

import backend_parity
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
