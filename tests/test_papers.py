"""The papers' commands run whole, at settings of seconds."""

import json
import pathlib
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "examples" / "papers").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_papers_command_runs_whole_and_goes_on(script, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    arguments = ["--quick", "--dataset", "digits", "--epochs", "1"]
    places = ["--out", str(out), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [str(script), *arguments, *places])
    runpy.run_path(str(script), run_name="__main__")
    rows = json.loads(out.read_text())
    assert rows
    assert out.with_suffix(".md").read_text().startswith("# ")
    assert "<svg" in out.with_suffix(".svg").read_text()
    # Again: all rows are there, and stay as they are.
    runpy.run_path(str(script), run_name="__main__")
    assert json.loads(out.read_text()) == rows


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_papers_script_can_be_read_at_once(script):
    assert len(script.read_text().splitlines()) <= 150
