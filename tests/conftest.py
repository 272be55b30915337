"""Data for the tests: real images, or a skip with the reason."""

import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The figures are drawn without a screen.
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Real data sets for machines without a network, and where they are prepared.
STORE = ROOT.parent / "shared" / "data" / "make_cache.py"
CACHE = ROOT / ".cache" / "tfds"

hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=40
)
# For work in progress: no minutes spent on shrinking a failure.
hypothesis.settings.register_profile(
    "quick",
    deadline=None,
    derandomize=True,
    max_examples=10,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def fashion_mnist():
    """Fashion-MNIST, prepared once from the offline store if need be."""
    from keras_nonconvex import datasets

    if "TFDS_DATA_DIR" not in os.environ and STORE.exists():
        os.environ["TFDS_DATA_DIR"] = str(CACHE)
        if not (CACHE / "fashion_mnist").exists():
            subprocess.run(
                [
                    sys.executable,
                    STORE,
                    "--tfds",
                    CACHE,
                    "fashion_mnist",
                ],
                check=True,
                capture_output=True,
            )
    try:
        return datasets.load("fashion_mnist")
    except datasets.NotAvailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits():
    from keras_nonconvex import datasets

    return datasets.load("digits")
