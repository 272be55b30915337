"""The project as a whole: imports, README, the second backend."""

import ast
import configparser
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYERS = [
    {
        "version",
        "files",
        "terminal",
        "tensors",
        "checks",
        "backends",
        "layer_names",
        "time_steps",
    },
    {"group_patterns", "graph", "models", "run_folder"},
    {"configs", "endings", "unfolding"},
    {"outputs"},
    {"ranges"},
    {"sample_forms", "datasets"},
    {"samples"},
    {"data_loss"},
    {"penalties", "layouts", "constraints"},
    {"regularizers", "macs"},
    {"counts", "flops"},
    {"solvers", "pruning"},
    {"sparsity"},
    {"callbacks"},
    {"training"},
    {"compression", "experiments"},
    {"__main__"},
]
REGULARIZERS = [
    {"scope", "joint_prox"},
    {"base"},
    {"lookup"},
    {"generic"},
    {"named_group", "named_sparse_group"},
    {"envelope", "hierarchical", "hoyer", "orthogonality"},
]
SOLVERS = [
    {"state"},
    {"step_size", "half_space", "batches"},
    {"base"},
    {"proximal"},
    {"splitting", "admm", "slimming", "subgradient"},
]
CALLBACKS = [{"state", "freeze"}]
COUPLED = [{"classes"}, {"base"}, {"groups", "envelope"}]
TRAINING = [
    {"backup", "coupled", "inner_layers", "descent", "replication"},
    {"distillation", "model"},
    {"flow", "gates", "least_strength"},
    {"attachment", "recovery", "strength"},
]
PRUNING = [
    {"rules", "budgets", "drawing"},
    {"channels"},
    {"removal", "selection", "carriers"},
    {"costs", "criteria"},
    {"candidates", "options"},
    {"pruning_plan"},
    {"refitting", "reasons", "rise"},
    {"planning"},
    {"iteration"},
]
CHANNELS = [
    {"space", "uses"},
    {"at_hand", "balancing"},
    {"walk"},
    {"following"},
    {"trace", "execution"},
]
REMOVAL = [
    {"remaking", "compiling", "constants", "choices", "arriving"},
    {"builder", "folding", "carrying"},
    {"branches", "superfluous"},
    {"removal"},
]
DATASETS = [
    {"base"},
    {"pictures", "dividing", "targets", "augmentation", "pipeline"},
    {"cache", "listing", "checking"},
    {"digits", "folder", "functions", "npz", "split", "tfds"},
    {"loading", "rows"},
    {"streams"},
    {"opening"},
]
CRITERIA = [
    {"base", "drawing", "gates"},
    {"weights"},
    {"activations", "gradients", "loss_rise"},
    {"samples"},
]
UNFOLDING = [{"naming", "recording"}, {"trial"}, {"unfolded"}]
REFITTING = [
    {"least_squares", "patches", "reporting", "stream"},
    {"units"},
    {"fitting"},
    {"repairing"},
]
RULES = [
    {"base", "judging"},
    {"elementwise", "merging", "moving", "normalizing"},
    {"weighted", "sequences", "selecting"},
    {"pooling", "shuffling"},
]

COMPRESSION = [
    {
        "distribution",
        "making",
        "front",
        "keys",
        "measure",
        "points",
        "reaching",
        "reading",
        "records",
    },
    {"recipe", "steps", "task"},
    {"job"},
    {"report", "training"},
    {"trial"},
    {"stages"},
    {"run"},
]
STAGES = [{"dense", "shrinking"}, {"exporting", "recovery", "sparse"}]
EXPORT = [
    {"processes", "flatfile", "inference", "runtime"},
    {"metadata", "samples", "precisions"},
    {"parity", "timing", "profiling"},
    {"conversion", "drift"},
    {"measures", "rounding", "qat"},
    {"android_project", "browser_page"},
]


def imports(path):
    """Dotted names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def check_one_way(folder, package, order):
    """A file that `order` does not name is on top: no other may import it."""
    top = len(order)
    rank = {name: i for i, names in enumerate(order) for name in names}
    for path in sorted(folder.rglob("*.py")):
        part = path.relative_to(folder).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for name in imports(path):
            if name.startswith(f"{package}."):
                used = name.removeprefix(f"{package}.").split(".")[0]
                if used != part:
                    below = rank.get(used, top) < rank.get(part, top)
                    assert below, f"{path} imports {name}"


def test_imports_point_one_way():
    package = ROOT / "keras_nonconvex"
    check_one_way(package, "keras_nonconvex", LAYERS)
    pruning = package / "pruning"
    check_one_way(pruning, "keras_nonconvex.pruning", PRUNING)
    for name, order in (
        ("regularizers", REGULARIZERS),
        ("solvers", SOLVERS),
        ("callbacks", CALLBACKS),
        ("training", TRAINING),
        ("training/coupled", COUPLED),
        ("compression", COMPRESSION),
        ("datasets", DATASETS),
        ("pruning/channels", CHANNELS),
        ("pruning/removal", REMOVAL),
        ("pruning/criteria", CRITERIA),
        ("pruning/refitting", REFITTING),
        ("pruning/rules", RULES),
        ("unfolding", UNFOLDING),
    ):
        dotted = f"keras_nonconvex.{name.replace('/', '.')}"
        check_one_way(package / name, dotted, order)
    check_one_way(ROOT / "tflite_export", "tflite_export", EXPORT)
    for path in pruning.rglob("*.py"):
        for name in imports(path):
            for part in ("penalties", "regularizers", "solvers"):
                assert not name.startswith(f"keras_nonconvex.{part}")


def test_tensorflow_is_imported_where_it_must_be():
    allowed = {
        "backends.py",
        "compression/distribution.py",
        "datasets/pipeline.py",
    }
    package = ROOT / "keras_nonconvex"
    for path in package.rglob("*.py"):
        where = path.relative_to(package).as_posix()
        for name in imports(path):
            top = name.split(".")[0]
            assert top != "tensorflow" or where in allowed, where
            assert top != "tflite_export" or where in (
                "compression/keys.py",
                "compression/trial.py",
                "compression/stages/exporting.py",
            )


def test_versions_agree():
    import keras_nonconvex

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"].startswith("attr:")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {keras_nonconvex.__version__}" in changelog


def test_readme_quickstart_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "small.tflite").exists()
    assert "zero filters" in capsys.readouterr().out


def test_readme_names_what_exists():
    import keras_nonconvex as knc

    text = (ROOT / "README.md").read_text()
    for name in set(re.findall(r"knc\.([A-Za-z_0-9]+)", text)):
        assert hasattr(knc, name), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)", text, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
