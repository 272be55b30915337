"""The table of precisions, and the one that docs/export.md adds to it."""

import pathlib
import re

import models
import numpy as np
import pytest

import keras_nonconvex as knc
import tflite_export
from tflite_export import flatfile
from tflite_export import precisions

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "export.md"
LIMITS = tflite_export.Limits(error=0.1, agreement=0.9)


@pytest.fixture
def table():
    """The table, which is as before after the test."""
    copy = dict(precisions.PRECISIONS)
    yield precisions.PRECISIONS
    precisions.PRECISIONS.clear()
    precisions.PRECISIONS.update(copy)


def test_the_precision_of_the_page(table, tmp_path):
    _, section = PAGE.read_text().split("### A precision of your own")
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)
    half = names["half"]
    assert table["half"] is half

    model = models.chain(seed=1)
    x = np.random.default_rng(0).normal(size=(40, 12, 12, 2)).astype("float32")
    float16, own = tflite_export.convert(
        model,
        tmp_path / "{precision}.tflite",
        ["float16", "half"],
        isolate=False,
    )
    # XNNPACK computes in float16 where it finds this note.
    notes = [flatfile.notes(flatfile.read(m.path)) for m in (float16, own)]
    assert [n["reduced_precision_support"] for n in notes] == [
        b"fp16accfp32",
        b"fp16accfp16",
    ]
    parity = tflite_export.check_parity(model, own.path, x)
    assert parity.met and parity.precision == "half"
    assert parity.limits is half.limits
    other = tflite_export.check_parity(model, float16.path, x)
    assert other.precision == "float16"
    assert other.limits is table["float16"].limits
    recipe = knc.Recipe("own", {}, precisions=["float32", "half"])
    assert recipe.precisions == ("float32", "half")


def test_a_precision_takes_the_place_of_its_name(table):
    mine = tflite_export.Precision("float16", "float16", "float32", LIMITS)
    assert precisions.register(mine) is mine
    assert table["float16"] is mine
    # What is registered last is asked first.
    assert list(table)[-1] == "float16"


@pytest.mark.parametrize(
    "change,message",
    [
        ({"io": ("int8",)}, r"must hold 'float32'.*Received: io=\('int8',\)"),
        (
            {"settings": {"inference_type": np.float16}},
            "must be plain data.*Received: settings=",
        ),
    ],
)
def test_bad_precisions(change, message):
    with pytest.raises(ValueError, match=message):
        tflite_export.Precision("mine", "int8", "int8", LIMITS, **change)


def test_settings_that_the_converter_lacks(table, tmp_path):
    precisions.register(
        tflite_export.Precision(
            "mine",
            "float32",
            "float32",
            LIMITS,
            settings={"target_spec": {"no_such": 1}},
        )
    )
    with pytest.raises(ValueError, match="attributes of .* no_such=1"):
        tflite_export.convert(models.chain(), tmp_path / "x.tflite", "mine")
    assert not list(tmp_path.iterdir())
