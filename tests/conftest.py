"""Data for the tests: real images, or a skip with the reason."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The figures are drawn without a screen.
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Real data sets for machines without a network, and where they are prepared.
STORE = ROOT.parent / "shared" / "data" / "make_cache.py"
CACHE = ROOT / ".cache" / "tfds"
# tensorflow-datasets looks at it once, when some test imports it.
PREPARES = "TFDS_DATA_DIR" not in os.environ and STORE.exists()
if PREPARES:
    os.environ["TFDS_DATA_DIR"] = str(CACHE)

# Of each property in `make test`; costly ones say `@helpers.examples(n)`.
EXAMPLES = 15

# What HYPOTHESIS_PROFILE may be.
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=EXAMPLES
)
# `make fuzz`: other examples in every run, and how to have a failure again.
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=False,
    max_examples=200,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# For work in progress: no minutes spent on shrinking a failure.
hypothesis.settings.register_profile(
    "quick",
    deadline=None,
    derandomize=True,
    max_examples=6,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def _prepare(name):
    """Makes a data set's cache, whole or not at all: others may do the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        subprocess.run(
            [sys.executable, STORE, "--tfds", folder, name],
            check=True,
            capture_output=True,
        )
        with contextlib.suppress(OSError):  # Another was first.
            os.rename(pathlib.Path(folder) / name, CACHE / name)


@pytest.fixture(scope="module")
def converts_here():
    """Files are converted in this process, where TensorFlow has started.

    `test_conversion.py` shows that a process of its own writes the same: with
    `child.run` as it was, which this gives.
    """
    from tflite_export.processes import child
    from tflite_export.processes import converter

    start = child.run

    def run(script, folder, job, told=None):
        if script != converter.__file__:
            return start(script, folder, job, told)
        (folder / "job.json").write_text(json.dumps(job))
        converter._main(folder)
        return json.loads((folder / "result.json").read_text())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "run", run)
        yield start


@pytest.fixture(scope="session")
def fashion_mnist():
    """Fashion-MNIST, prepared once from the offline store if need be."""
    from keras_nonconvex import datasets

    if PREPARES and not (CACHE / "fashion_mnist").exists():
        _prepare("fashion_mnist")
    try:
        return datasets.load("fashion_mnist")
    except datasets.NotAvailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits():
    from keras_nonconvex import datasets

    return datasets.load("digits")
