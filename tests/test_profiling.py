"""Times of single operations, as LiteRT's profiler tells them."""

import _ctypes
import importlib.metadata
import pathlib
import shutil

import keras
import models
import numpy as np
import pytest
from keras import layers

import tflite_export
from tflite_export import profiling
from tflite_export.processes import amx
from tflite_export.processes import profiler

pytestmark = pytest.mark.usefixtures("converts_here")

RUNS = 40
KERNELS = {"float32": "(NHWC, F32)", "int8": "(NHWC, QC8)"}

known = pytest.mark.skipif(
    importlib.metadata.version("ai-edge-litert") not in profiler.VERSIONS,
    reason="the times of this ai-edge-litert are not read",
)


def network():
    """Two convolutions, the first at sixteen times as many pixels."""
    inputs = keras.Input((64, 64, 8))
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D(4)(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(4, activation="softmax")(x)
    return models.randomize(keras.Model(inputs, x), seed=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("profiling"), network()
    samples = np.random.default_rng(0).random((50, 64, 64, 8), "float32")
    return {
        precision: tflite_export.convert(
            model, folder / f"{precision}.tflite", precision, samples
        ).path
        for precision in KERNELS
    }


@known
@pytest.mark.parametrize("precision", KERNELS)
def test_operations_in_their_order(written, precision):
    rows = profiling.profile(written[precision], runs=RUNS)
    assert [row.index for row in rows] == list(range(len(rows)))
    assert {row.calls for row in rows} == {RUNS}
    assert all(row.mean_us >= 0 for row in rows)
    assert sum(row.share for row in rows) == pytest.approx(1)
    first, second = [row for row in rows if "Convolution" in row.name]
    assert KERNELS[precision] in first.name
    assert 0 < second.mean_us < first.mean_us
    assert first.share == pytest.approx(
        first.mean_us / sum(row.mean_us for row in rows)
    )
    assert second.name in str(second)
    assert "softmax" in " ".join(row.name for row in rows[-3:]).lower()


@known
def test_operations_add_up_to_the_run(written):
    samples = np.zeros((1, 64, 64, 8), "float32")
    found = profiling._measured(
        samples.tobytes(),
        library=profiling._library(),
        path=written["float32"],
        threads=1,
        runs=RUNS,
        warmup=5,
        amx=False,
    )
    shares = np.sum(found["times"], axis=1) / found["totals"]
    # Alone on a machine it is 0.7 and more; others' work takes from it.
    assert 0.3 < np.median(shares) <= 1.0


@known
def test_other_arguments(written):
    x = np.random.default_rng(1).random((1, 64, 64, 8))
    rows = profiling.profile(written["int8"], runs=3, threads=2, x=x, amx=True)
    assert {row.calls for row in rows} == {3}


def test_arguments_are_checked(written, tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        profiling.profile(tmp_path / "none.tflite")
    for name, value in {"runs": 0, "warmup": -1, "threads": 1.0}.items():
        with pytest.raises(ValueError, match=f"Received: {name}={value}"):
            profiling.profile(written["float32"], **{name: value})
    with pytest.raises(ValueError, match=r"\(1, 64, 64, 8\). Received: \(2,"):
        profiling.profile(written["float32"], x=np.zeros((2, 64, 64, 8)))


def test_unknown_version(written, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9.9")
    with pytest.raises(profiling.ProfilingNotAvailable, match="9.9.9"):
        profiling.profile(written["float32"])


@pytest.mark.parametrize(
    ("library", "reason"),
    [(__file__, "does not load"), (_ctypes.__file__, "no function LiteRt")],
)
def test_unknown_library(written, monkeypatch, library, reason):
    monkeypatch.setattr(profiling, "_library", lambda: library)
    with pytest.raises(profiling.ProfilingNotAvailable, match=reason):
        profiling.profile(written["float32"])


@known
@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        # The event of the whole run among those of its operations.
        ("= (1 << 1, 1 << 3)", "= (1, 1 << 1, 1 << 3)", "longer than its runs"),
        ("= (1 << 1, 1 << 3)", "= (1 << 7,)", "no operations"),
        ("c_size_t(0)", "c_size_t(7)", "returned status"),
        (
            "def _main(folder):",
            "ctypes.string_at(0)\ndef _main(folder):",
            "exit code -",
        ),
    ],
)
def test_mistakes_end_in_a_reason(
    written, monkeypatch, tmp_path, right, wrong, reason
):
    source = pathlib.Path(profiler.__file__).read_text()
    assert source.count(right) == 1
    shutil.copy(amx.__file__, tmp_path)
    script = tmp_path / "profiler.py"
    script.write_text(source.replace(right, wrong))
    monkeypatch.setattr(profiler, "__file__", str(script))
    with pytest.raises(profiling.ProfilingNotAvailable, match=reason):
        # Pauses of a machine with other work may make runs as long as twice
        # their operations, but hardly three times in a row.
        for _ in range(3):
            profiling.profile(written["float32"], runs=50)


@known
def test_too_fast_for_the_clock(written, monkeypatch):
    instant = {"names": ["a", "b"], "times": [[0, 0]]}
    monkeypatch.setattr(profiling, "_measured", lambda *_, **__: instant)
    with pytest.raises(profiling.ProfilingNotAvailable, match="microsecond"):
        profiling.profile(written["float32"], runs=1)
