"""Files saved by version 0.1.0 load, whatever has moved since.

`regularizers.keras` carries a kernel regularizer of every class and two
constraints; the others one solver each. `expected.json` has the penalty and
one output of each, as they were when it was saved.
"""

import json
import pathlib

import keras
import numpy as np
import pytest

import keras_nonconvex as knc

SAVED = pathlib.Path(__file__).parent / "saved"
EXPECTED = json.loads((SAVED / "expected.json").read_text())


def load(name):
    return keras.models.load_model(SAVED / f"{name}.keras")


@pytest.mark.parametrize("name", EXPECTED)
def test_penalty_and_output_are_as_saved(name):
    model = load(name)
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    penalty = float(sum(model.losses)) if model.losses else 0.0
    output = model.predict(x[:1], verbose=0)[0, 0]
    assert isinstance(model, knc.ProximalModel)
    assert [penalty, output] == pytest.approx(EXPECTED[name], rel=1e-5)


def test_every_regularizer_is_in_the_file():
    names = {
        type(layer.kernel_regularizer).__name__
        for layer in load("regularizers").layers
        if getattr(layer, "kernel_regularizer", None) is not None
    }
    public = {
        name
        for name in knc.__all__
        if isinstance(getattr(knc, name), type)
        and issubclass(getattr(knc, name), keras.regularizers.Regularizer)
    }
    assert public <= names


@pytest.mark.parametrize(
    "name, solver",
    [
        ("regularizers", knc.solvers.Subgradient),
        ("proximal", knc.solvers.ProximalGradient),
        ("splitting", knc.solvers.VariableSplitting),
        ("admm", knc.solvers.ADMM),
    ],
)
def test_training_goes_on_with_its_solver(name, solver):
    model = load(name)
    assert type(model.solver) is solver
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    history = model.fit(x, np.arange(8) % 4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_coupled_groups_come_back():
    model = load("coupled")
    assert isinstance(model.coupled, knc.CoupledGroups)
    assert model.coupled.get_config()["strength"] == 1e-3
