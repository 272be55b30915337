"""What people see: tables in 80 columns, names, counts."""

import collections
import io
import re

import numpy as np
import pytest
from rich.console import Console

from keras_nonconvex import counts
from keras_nonconvex import terminal
from keras_nonconvex.pruning import pruning_plan
from tflite_export import drift
from tflite_export import timing

# Of VGG-16 on ImageNet, in a model within a model.
PATH = "phone/feature_extractor/block_1_depthwise_batch_normalization"
PARAMS, MACS = 102_764_544, 15_470_264_320


def summary():
    row = counts.LayerCount(
        *(PATH, "DepthwiseConv2D", (224, 224, 64), PARAMS, MACS),
        *(PARAMS, PARAMS // 3, 4096, 1024),
    )
    return counts.Summary("vgg16", [row, row]).table()


def plan():
    layer = pruning_plan.LayerPlan(
        PATH,
        "DepthwiseConv2D",
        [i % 2 == 0 for i in range(4096)],
        (PARAMS, PARAMS // 2 + 1),
        (MACS, MACS // 2 + 1),
        f"'{PATH}' applies softmax over them; 300: lowest group_norm",
    )
    costs = {"params": PARAMS, "macs": MACS}
    after = {"params": PARAMS // 2 + 1, "macs": MACS // 2 + 1}
    return pruning_plan.PruningPlan(
        "vgg16", "group_norm", {"macs": MACS // 2}, costs, after, [layer] * 2
    )


def benchmark():
    return timing.table(
        [
            timing.Latency(
                f"runs/{name}/model_for_phones.int8.tflite",
                *(1523.4567, 1634.5678, 500, 1, 138_357_544, MACS, 112, 108, 3),
            )
            for name in ("small", "dense")
        ]
    )


def drifted():
    row = drift.LayerDrift(7, "DEPTHWISE_CONV_2D", PATH, 1e-05, 2e-05, 1.5e-05)
    return drift.table("runs/demo/model.int8.tflite", [row])


TABLES = {
    "summary": summary,
    "plan": lambda: plan().table(),
    "diff": lambda: plan().diff(),
    "benchmark": benchmark,
    "drift": drifted,
}


def figures(text):
    """What stands in the columns of numbers, with how often."""
    number = r"(?<!\S)\d[-e\d.,/x]*[kMGT%]?(?!\S)"
    return collections.Counter(re.findall(number, text))


@pytest.mark.parametrize("name", TABLES)
def test_tables_can_be_read_in_80_columns(name, monkeypatch):
    shown = {}
    for width in (80, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        table = TABLES[name]()
        shown[width] = table if name == "diff" else terminal.render(table)
        assert max(map(len, shown[width].splitlines())) <= width
    assert figures(shown[80]) == figures(shown[300])
    assert len(figures(shown[300])) > 3
    remark = f"{PATH}' applies softmax over them"
    folded = "".join(shown[80].split())
    assert name != "plan" or "".join(remark.split()) in folded


def test_benchmarks_tell_files_of_one_name_apart():
    text = terminal.render(benchmark(), 80)
    assert "small" in text and "dense" in text and "runs" not in text


def test_the_end_of_a_name_stays():
    own = PATH.rpartition("/")[2]
    for width in range(1, 100):
        path, kind = terminal.Name(PATH, "DepthwiseConv2D").within(width)
        shown = f"{path} {kind}".rstrip()
        assert len(shown) <= width
        assert path.strip("\N{HORIZONTAL ELLIPSIS}") in PATH
        assert PATH.endswith(path[-1:]) or width == 1
        if width > len(own):
            assert path.endswith(own)
        if width >= len(own) + 7:
            assert kind[:3] == "Dep"
    assert (path, kind) == (PATH, "DepthwiseConv2D")


def test_counts_are_told_in_five_characters():
    rng = np.random.default_rng(0)
    counted = np.concatenate(
        [
            np.arange(2000),
            *(
                10**k + np.arange(-60, 60) * 10 ** max(k - 5, 0)
                for k in range(4, 13)
            ),
            (10 ** rng.uniform(0, 14.9, 500)).astype(int),
        ]
    )
    factor = dict(zip("kMGT", 1000.0 ** np.arange(1, 5), strict=True))
    for n in counted.tolist():
        text = terminal.number(n)
        assert len(text) <= 5
        value = float(text.rstrip("kMGT")) * factor.get(text[-1], 1.0)
        assert abs(value - n) <= 0.00501 * n
        assert n >= 1000 or text == str(n)


def test_a_terminal_of_80_columns_gets_80(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, str(plan()).splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "300")
    assert PATH in str(plan())


def test_lines_wrap_on_terminals_alone(capsys):
    words = "accuracy " * 40
    for terminal_ in (True, False):
        console = Console(width=80, force_terminal=terminal_)
        terminal.say(console, words)
        lines = capsys.readouterr().out.splitlines()
        assert (len(lines) > 1) == terminal_
        assert all(line.startswith("accuracy") for line in lines)


def test_a_log_file_shows_progress_after_every_ten_seconds(monkeypatch):
    now = iter([0.0, 4.0, 12.0, 13.0, 30.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    console = Console(file=io.StringIO(), force_terminal=False)
    with terminal.bar(console, "rows", 100) as update:
        for done in (10, 40, 50, 101):
            update(done)
    assert console.file.getvalue().splitlines() == [
        "rows ...",
        "rows: 40%, about 18 s left",
        "rows: 100%, about 0 s left",
    ]
