"""The table of `make mutants` fits the code; the faults are tried there."""

import pytest
from mutants.table import MUTANTS
from mutants.table import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mutant_changes_one_place(mutant):
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old


def test_there_are_mutants_of_every_kind():
    files = {mutant.file for mutant in MUTANTS}
    for part in (
        "penalties",
        "regularizers/joint_prox",
        "regularizers/envelope",
        "solvers/step_size",
        "solvers",
        "pruning/selection",
        "pruning/removal/constants",
        "pruning/removal/folding",
        "pruning/rules",
        "compression/making",
    ):
        assert any(f"keras_nonconvex/{part}" in file for file in files), part
    assert any("tflite_export/parity" in file for file in files)
    assert len(MUTANTS) >= 30
