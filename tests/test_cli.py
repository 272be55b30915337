"""The command line before any work: help, and what arguments may be."""

import os
import subprocess
import sys
import time

import pytest

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex.pruning import criteria
from keras_nonconvex_main import choices
from keras_nonconvex_main import cli

# Asks every command for help, and prints which packages were imported.
HELP = """
import sys
import keras_nonconvex_main
from keras_nonconvex_main import cli

(commands,) = cli._parser()._subparsers._group_actions
for command in [[], *([name] for name in commands.choices)]:
    sys.argv = ["keras-nonconvex", *command, "--help"]
    try:
        keras_nonconvex_main.main()
    except SystemExit as end:
        assert end.code == 0
    print("##", *command)
print(*{name.split(".")[0] for name in sys.modules})
"""


def test_help_of_every_command_starts_no_tensorflow():
    start = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-c", HELP],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80"},
    ).stdout
    assert time.monotonic() - start < 2.0
    *pages, imported = told.split("##")
    assert all("usage: keras-nonconvex" in page for page in pages)
    for page in pages:
        assert max(map(len, page.splitlines())) <= 80
    heavy = {"keras", "tensorflow", "numpy", "keras_nonconvex", "tflite_export"}
    assert not heavy & set(imported.split())


@pytest.mark.parametrize(
    "name", ["CRITERIA", "PRECISIONS", "CALIBRATED", "STRATEGIES", "POLICIES"]
)
def test_arguments_know_what_ships(name):
    offered = getattr(choices, name)
    assert list(offered.shipped) == list(offered.registered())


def test_recipes_that_ship_are_found_without_the_package():
    assert choices.RECIPES == knc.Recipe.shipped()


def test_arguments_take_what_is_registered_later(monkeypatch):
    precisions = tflite_export.precisions.PRECISIONS
    monkeypatch.setitem(precisions, "mine", precisions["int8"])
    monkeypatch.setitem(criteria.REGISTRY, "mine", lambda trace: None)
    parser = cli._parser()
    options = parser.parse_args(["export", "a.keras", "--precision", "mine"])
    assert options.precision == ["mine"]
    options = parser.parse_args(["prune", "a", "b", "--criterion", "mine"])
    assert options.criterion == "mine"
    with pytest.raises(SystemExit):
        parser.parse_args(["export", "a.keras", "--precision", "int9"])
