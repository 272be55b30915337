"""The comparison with Torch-Pruning, as far as it needs no torch."""

import json
import pathlib

import numpy as np
import pytest

import keras_nonconvex as knc

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"
ROW = ("resnet20", "macs", "50", "tp_taylor", 0)


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def script():
    import against_torch_pruning

    return against_torch_pruning


def resnet(widths=(3, 5)):
    """Random weights of a network of one block per width."""
    rng = np.random.default_rng(0)

    def conv(*shape):
        return [rng.normal(size=shape).astype("float32")]

    def norm(n):
        return [rng.uniform(0.5, 2, n).astype("float32") for _ in range(4)]

    given = {"conv1": conv(3, 3, 3, widths[0]), "bn1": norm(widths[0])}
    before = widths[0]
    for stage, width in enumerate(widths, 1):
        block = f"layer{stage}_0_"
        given[f"{block}conv1"] = conv(3, 3, before, width)
        given[f"{block}bn1"] = norm(width)
        given[f"{block}conv2"] = conv(3, 3, width, width)
        given[f"{block}bn2"] = norm(width)
        before = width
    given["linear"] = [*conv(before, 10), np.zeros(10, "float32")]
    return given


def test_both_sides_are_counted_as_a_summary_counts():
    from against import nets
    from against import weights

    model = nets.build(weights.with_projections(resnet()))
    found = weights.counted(nets.weights_of(model), nets.positions(model))
    summary = knc.summary(model)
    assert found == {"params": summary.params, "macs": summary.macs}
    assert found["macs"] > 100_000


def test_a_projection_computes_what_a_padded_shortcut_does():
    from against import weights

    given = weights.with_projections(resnet((4, 8)))
    (kernel,) = given["layer2_0_short"]
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 4))
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (2, 2)))
    assert np.array_equal(np.tensordot(x, kernel[0, 0], 1), padded)
    assert "layer1_0_short" not in given


def test_weights_keep_names_order_and_values(tmp_path):
    from against import weights

    given = weights.with_projections(resnet())
    weights.save(tmp_path / "w.npz", given)
    found = weights.load(tmp_path / "w.npz")
    assert list(found) == list(given)
    assert weights.blocks(found) == ["layer1_0_", "layer2_0_"]
    for name, arrays in given.items():
        for one, other in zip(arrays, found[name], strict=True):
            assert np.array_equal(one, other)


def figures(**more):
    return {
        "network": ROW[0],
        "key": ROW[1],
        "percent": ROW[2],
        "method": ROW[3],
        "seed": ROW[4],
        "params": 60,
        "macs": 50,
        "pruned": 0.2,
        "recalibrated": 0.4,
        "day": "2026-11-28",
        "versions": "Keras",
        **more,
    }


def test_a_run_goes_on_where_it_stopped(script, tmp_path):
    out = tmp_path / "rows.json"
    networks = {"resnet20": {"accuracy": 0.9, "params": 100, "macs": 100}}
    settings = {"epochs": 2, "images": None}
    script.write(out, settings, networks, {ROW: figures()})
    found_networks, rows = script.existing(out, settings)
    assert found_networks == networks
    assert rows == {ROW: figures()}
    every = script.wanted({}, ["*"], networks, True)
    assert len(every) == len(set(every)) > 100
    # Training is still to come.
    assert script.wanted(rows, ["*"], networks, True) == every
    assert ROW not in script.wanted(rows, ["*"], networks, False)
    trained = {ROW: figures(fine_tuned=0.8)}
    left = script.wanted(trained, ["*"], networks, True)
    assert set(every) - set(left) == {ROW}
    only = script.wanted({}, ["*/macs-50/tp_taylor/0"], networks, True)
    assert only == [ROW]
    with pytest.raises(ValueError, match="other settings"):
        script.existing(out, {**settings, "epochs": 1})
    assert json.loads(out.read_text())["rows"] == [figures()]


def test_the_table_says_what_is_lost_and_what_is_missing(script, tmp_path):
    out = tmp_path / "rows.json"
    networks = {"resnet20": {"accuracy": 0.9, "params": 100, "macs": 100}}
    here = (*ROW[:3], "group_norm", 0)
    taught = (*ROW[:3], "output_change_teacher", 0)
    rows = {
        ROW: figures(fine_tuned=0.8, torch_ms=2.0, dense_torch_ms=4.0),
        here: figures(method="group_norm", pruned=0.3, fine_tuned=0.7),
        taught: figures(
            method="output_change_teacher", pruned=0.1, fine_tuned=0.85
        ),
    }
    script.write(out, {"epochs": 2, "images": None}, networks, rows)
    text = out.with_suffix(".md").read_text()
    assert (
        "| Torch-Pruning, Taylor | 0 | 60.0% | 50.0% | 20.00 | 40.00 |  "
        "| 80.00 |  |  | 2.000 | 0.50 |" in text
    )
    lost = [line for line in text.splitlines() if "is better" in line]
    assert lost == [
        "- Torch-Pruning is better after training, seed 0: 80.00% (Taylor) "
        "against 70.00% (`group_norm`)."
    ]
    missing = next(
        line for line in text.splitlines() if line.startswith("- resnet20/")
    )
    assert missing.startswith("- resnet20/macs-50: tp_magnitude 0 1, ")
    assert "tp_taylor 1" in missing and "tp_taylor 0" not in missing


def test_the_script_tells_how_it_is_used(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script.parsed(["--help"])
    assert not ended.value.code
    assert "--torch-python" in capsys.readouterr().out
    models = ["--models", "a=a.keras"]
    with pytest.raises(SystemExit):
        script.parsed([*models, "--quick"])
    options = script.parsed([*models, "--quick", "--out", "x.json"])
    assert (options.epochs, options.models) == (1, {"a": "a.keras"})
