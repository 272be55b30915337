"""The pages under docs/ say what is so: their code runs, their names exist."""

import pathlib
import re
import runpy
import shlex
import sys

import batteries
import keras
import models
import numpy as np
import pytest
import solver_battery
import tensorflow as tf
import test_penalties
import test_sparse_group

import keras_nonconvex as knc
from keras_nonconvex import outputs
from keras_nonconvex import penalties
from keras_nonconvex import pruning
from keras_nonconvex import regularizers
from keras_nonconvex_main import cli

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# Before the page adds its own.
PUBLIC = {*penalties.REGISTRY, *regularizers.REGISTRY}
CRITERIA = {*pruning.criteria.REGISTRY}


@pytest.fixture(scope="module")
def page():
    """What `add-a-penalty.md` defines, once its code has run."""
    text = (DOCS / "add-a-penalty.md").read_text()
    names = {}
    keras.utils.set_random_seed(0)
    try:
        for code in re.findall(r"```python\n(.*?)```", text, re.S):
            exec(compile(code, "add-a-penalty.md", "exec"), names)
        test_penalties.REGISTERED["Laplace"] = names["Laplace"]
        yield names
    finally:
        penalties.REGISTRY.pop("Laplace", None)
        test_penalties.REGISTERED.pop("Laplace", None)


BATTERY = [
    name
    for name in dir(test_penalties.TestEveryScalarPenalty)
    if name.startswith("test_")
]
JOINT = [
    name
    for name in dir(test_sparse_group.TestEveryPenalty)
    if name.startswith("test_")
]


@pytest.mark.parametrize("test", BATTERY)
def test_the_new_penalty_passes_the_battery(page, test):
    getattr(test_penalties.TestEveryScalarPenalty(), test)(name="Laplace")


@pytest.mark.parametrize("test", JOINT)
def test_its_joint_prox_passes_too(page, test):
    getattr(test_sparse_group.TestEveryPenalty(), test)(name="Laplace")


def test_the_model_of_the_page_trains(page, tmp_path):
    model = page["model"]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 8, 8, 1)), np.zeros((64, 2))
    model.fit(x, y, epochs=30, verbose=0)
    kernel = keras.ops.convert_to_numpy(model.layers[1].kernel)
    assert (kernel == 0).any() and np.isfinite(kernel).all()
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    found = loaded.layers[1].kernel_regularizer
    assert found.penalty == page["Laplace"](0.05)


@pytest.fixture(scope="module")
def solver_page():
    """What `add-a-solver.md` defines, once its code has run."""
    text = (DOCS / "add-a-solver.md").read_text()
    names = {}
    keras.utils.set_random_seed(0)
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(code, "add-a-solver.md", "exec"), names)
    return names


class TestSolverOfThePage(solver_battery.Battery):
    """The new solver passes what every solver must."""

    @pytest.fixture
    def case(self, solver_page):
        return solver_page["case"]

    def test_the_model_of_the_page_trains(self, solver_page):
        model = solver_page["model"]
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(64, 8, 8, 1)), np.zeros((64, 2))
        model.fit(x, y, epochs=30, verbose=0)
        kernel = keras.ops.convert_to_numpy(model.layers[1].kernel)
        assert (kernel == 0).any() and np.isfinite(kernel).all()


def test_the_page_on_training_names_every_solver_and_callback():
    text = (DOCS / "training.md").read_text()
    callbacks = [
        name
        for name, thing in vars(knc.callbacks).items()
        if isinstance(thing, type) and not name.startswith("_")
    ]
    for name in {*knc.solvers.__all__, *callbacks} - {"Solver"}:
        assert re.search(rf"^\| `{name}\(", text, re.M), name
    for name in set(re.findall(r"knc\.([A-Za-z_0-9]+)", text)):
        assert hasattr(knc, name), name


PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_hold_one_width_and_their_links_lead_somewhere(path):
    in_code = False
    for line in path.read_text().splitlines():
        if line.startswith("```"):
            in_code = not in_code
        elif in_code:
            assert not re.search(r"\S  # ", line), f"a line of its own: {line}"
        elif not line.startswith("|"):
            assert len(line) <= 120, line
    for target, anchor in re.findall(
        r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text()
    ):
        other = path.parent / target if target else path
        assert other.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", other.read_text(), re.M)
            anchors = [re.sub(r"[^\w -]", "", t.lower()) for t in titles]
            assert anchor in [a.replace(" ", "-") for a in anchors], anchor


def test_the_reference_names_everything():
    text = (DOCS / "penalties.md").read_text()
    for name in PUBLIC:
        assert re.search(rf"\b{name}\b", text), name
    for name in set(re.findall(r"knc\.([A-Za-z_0-9]+)", text)):
        assert hasattr(knc, name), name


def test_the_page_on_pruning_names_what_there_is():
    text = (DOCS / "pruning.md").read_text()
    for name in CRITERIA:
        assert f'`"{name}"`' in text, name
    for name in re.findall(r"knc\.pruning\.([A-Za-z_]+)", text):
        assert hasattr(pruning, name), name
    for module in ("criteria", "sampled"):
        for name in re.findall(rf"\b{module}\.([A-Z]\w+)", text):
            assert hasattr(getattr(pruning, module), name), name
    for path in re.findall(r"`(tests/\w+\.py)`", text):
        assert (ROOT / path).exists(), path


def test_the_figure_is_drawn_with_every_penalty(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import plot_penalties

    figure = plot_penalties.figure()
    titles = [
        axis.get_title(loc="left")
        for part in figure.subfigs
        for axis in part.axes
    ]
    for name in penalties.REGISTRY:
        assert any(title.startswith(f"{name}(") for title in titles), name


def test_own_training_loop_runs(monkeypatch, capsys):
    script = str(ROOT / "examples" / "own_training_loop.py")
    monkeypatch.setattr(sys, "argv", [script, "--epochs", "10"])
    runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr().out
    zeros, filters = re.search(r"(\d+) of (\d+) filters", said).groups()
    assert 0 < int(zeros) < int(filters)


def test_own_pictures_are_written_and_trained_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import own_pictures

    x = np.random.default_rng(0).uniform(size=(40, 8, 8, 3))
    np.savez(tmp_path / "few.npz", x=x.astype("float32"), y=np.arange(40) % 2)
    out = tmp_path / "photos"
    tf.config.run_functions_eagerly(True)
    try:
        few = str(tmp_path / "few.npz")
        options = ["--data", few, "--size", "8", "--epochs", "1"]
        own_pictures.main([str(out), *options])
    finally:
        tf.config.run_functions_eagerly(False)
    model = keras.models.load_model(out / "mine.keras")
    data = knc.datasets.splits(out / "pictures", model)
    sizes = [len(s) for s in (data.train, data.validation, data.test)]
    assert sizes == [28, 4, 8] and data.classes == ("0", "1")
    # Pixels, from 0 to 255, and logits.
    assert data.test.arrays()[0].max() > 200
    assert outputs.of(model)[0].kind == outputs.CLASSES


def test_the_commands_of_the_makefile_are_understood():
    text = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^\t\$\(BIN\)/keras-nonconvex (.*)$", text, re.M)
    assert len(lines) == 3
    for line in lines:
        cli._parser().parse_args(shlex.split(line))


def test_precisions_and_limits_are_those_of_the_page():
    from tflite_export import precisions

    text = (DOCS / "export.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\S+) \| (\S+) % \|", text, re.M
    )
    assert [row[0] for row in rows] == list(precisions.PRECISIONS)
    for name, weights, activations, error, agreement in rows:
        precision = precisions.PRECISIONS[name]
        assert weights == precision.weights, name
        assert activations == precision.activations, name
        assert float(error) == pytest.approx(precision.limits.error), name
        assert float(agreement) == pytest.approx(
            100 * precision.limits.agreement
        ), name


def test_names_of_the_export_page_exist():
    import tflite_export

    text = (DOCS / "export.md").read_text()
    for name in set(re.findall(r"tflite_export\.([A-Za-z_]+)", text)):
        assert hasattr(tflite_export, name), name


def executed(name):
    """What the code of a page defines."""
    names = {}
    text = (DOCS / name).read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(code, name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def rule_page():
    """What `add-a-layer-rule.md` defines, once its code has run."""
    names = {}
    try:
        names = executed("add-a-layer-rule.md")
        yield names
    finally:
        pruning.rules.REGISTRY.pop(names.get("GatedDense"), None)


@pytest.mark.parametrize("test", batteries.tests_of(batteries.Removal))
def test_the_new_rule_passes_the_battery(rule_page, test):
    rule_page["test_rule"](test)


def test_a_constant_into_the_new_layer_keeps_its_channel(rule_page):
    model = keras.models.clone_model(rule_page["model"])
    conv = models.randomize(model, 0).get_layer("conv")
    kernel = np.array(conv.kernel)
    kernel[..., :2] = 0
    conv.kernel.assign(kernel)
    conv.bias.assign([0.5, -0.5, *[0.1] * 10])
    layer = next(la for la in pruning.plan(model).layers if la.name == "conv")
    # What ReLU makes of the second one's constant is zero.
    assert layer.keep == [True, False] + [True] * 10
    assert "sends 0.5 into 'gated', where no bias can" in layer.reason


@pytest.fixture(scope="module")
def criterion_page():
    """What `add-a-criterion.md` defines, once its code has run."""
    known = dict(pruning.criteria.REGISTRY)
    try:
        yield executed("add-a-criterion.md")
    finally:
        pruning.criteria.REGISTRY.clear()
        pruning.criteria.REGISTRY.update(known)


@pytest.mark.parametrize("test", batteries.tests_of(batteries.Criterion))
@pytest.mark.parametrize(
    "name", ["outgoing_norm", "norm_per_mac", "activation_variance"]
)
def test_the_new_criteria_pass_the_battery(criterion_page, name, test):
    data = criterion_page["images"], criterion_page["labels"]
    battery = batteries.Criterion()
    getattr(battery, test)(name, criterion_page["model"], data)
