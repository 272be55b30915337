"""Latency side by side, and the rounding that is fastest."""

import json

import keras
import models
import numpy as np
import pytest
from keras import layers

import keras_nonconvex as knc
import tflite_export
from tflite_export import runtime
from tflite_export import timing

pytestmark = pytest.mark.usefixtures("converts_here")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timing")
    images = np.random.default_rng(0).random((20, 12, 12, 2))
    made = []
    for precision in ("float32", "int8"):
        path = folder / f"{precision}.tflite"
        tflite_export.convert(models.chain(seed=1), path, precision, images)
        made.append(str(path))
    inputs = keras.Input((64, 64, 16))
    wide = keras.Model(inputs, layers.Conv2D(64, 3)(inputs))
    tflite_export.convert(wide, folder / "wide.tflite")
    return [*made, str(folder / "wide.tflite")]


def test_in_order_with_what_the_file_is(paths):
    done = []
    found = tflite_export.benchmark(
        paths[0], paths[1:], runs=60, warmup=5, progress=done.append
    )
    assert [t.path for t in found] == paths
    assert done == [20, 40]
    for one in found:
        assert 0 < one.median_ms <= one.p95_ms
        assert one.runs == 60 and one.threads == 1
        assert 0 < one.delegated <= one.operations and one.parts >= 1
        assert f"{one.macs:,} MACs" in str(one)
    assert found[0].macs == found[1].macs < found[2].macs
    # Some 35 million multiply-adds against some 50 thousand.
    assert found[2].median_ms > 5 * found[0].median_ms
    assert len(tflite_export.benchmark(paths[0], paths[1], runs=3)) == 2


def test_table_and_json(paths, tmp_path):
    found = tflite_export.benchmark(paths[1], paths[0], runs=5)
    made = timing.table(found)
    columns = {
        str(column.header).replace("\n", " "): list(map(str, column.cells))
        for column in made.columns
    }
    assert columns["file"] == ["int8.tflite", "float32.tflite"]
    assert columns["latency ratio"][1] == columns["MACs ratio"][1] == "1.000"
    stored = json.loads(timing.to_json(found))
    assert stored["timings"][0]["median_ms"] == found[0].median_ms
    assert stored["ai_edge_litert"] and stored["machine"]


def test_what_the_delegate_runs(tmp_path):
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.ops.cumsum(x, axis=1)  # XNNPACK has no such kernel.
    outputs = layers.Conv2D(3, 3)(x)
    path = tmp_path / "model.tflite"
    made = tflite_export.convert(keras.Model(inputs, outputs), path)
    (found,) = tflite_export.benchmark(path, runs=3)
    assert found.operations == sum(made.ops.values())
    assert found.delegated < found.operations
    model = runtime.interpreter(path)
    delegated, parts = runtime.delegation(model)
    names = [o["op_name"] for o in model._get_ops_details()]
    left = {names[i] for i in range(found.operations) if i not in delegated}
    assert "CUMSUM" in left and "CONV_2D" not in left
    assert parts == found.parts == 2


@pytest.mark.parametrize(
    "change", [{"runs": 0}, {"warmup": -1}, {"threads": 0}, {"runs": 1.5}]
)
def test_bad_arguments(paths, change):
    (name,) = change
    with pytest.raises(ValueError, match=f"`{name}` must be a whole number"):
        tflite_export.benchmark(paths[0], **change)


def test_a_process_that_fails_is_told(paths, tmp_path, monkeypatch):
    script = tmp_path / "fails.py"
    script.write_text("import sys; print(20); sys.exit('went wrong')")
    monkeypatch.setattr(timing.timer, "__file__", str(script))
    with pytest.raises(RuntimeError, match="exit code 1: went wrong"):
        tflite_export.benchmark(paths[0])


def test_tuned_rounding():
    model = models.chain(seed=1)
    found = tflite_export.tune_round_to(
        model, {"macs": 0.6}, candidates=(1, 2, 64), runs=20
    )
    # 64 leaves every channel and so misses the budget.
    assert set(found.median_ms) == set(found.macs) == {1, 2}
    full = knc.summary(model).macs
    assert all(macs <= 0.6 * full for macs in found.macs.values())
    fastest = min(found.median_ms.values())
    assert found.median_ms[found.best] <= 1.03 * fastest
    assert f"round_to={found.best}" in str(found) and "best" in str(found)
    small = knc.prune(model, "group_norm", {"macs": 0.6}, found.best)
    assert knc.summary(small).macs == found.macs[found.best]


@pytest.mark.parametrize(
    "change,message",
    [
        ({"candidates": ()}, "No `round_to` of `candidates`"),
        ({"candidates": (0, 2)}, "`candidates` must be a whole number >= 1"),
        (
            {"candidates": (64,)},
            "No `round_to` of `candidates` meets the budget",
        ),
    ],
)
def test_rounding_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        tflite_export.tune_round_to(
            models.chain(seed=1), {"macs": 0.5}, runs=3, **change
        )
