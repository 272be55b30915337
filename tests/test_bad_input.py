"""What a user may get wrong: one sentence, exit code 2, nothing written."""

import json
import shlex
import sys
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

import keras_nonconvex as knc
from keras_nonconvex.pruning import budgets
from keras_nonconvex_main import cli

pytestmark = pytest.mark.usefixtures("converts_here")
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def pictures(folder, classes, per_class=10):
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            image = Image.new("RGB", (6, 6), (number, 0, 0))
            image.save(folder / name / f"{number}.png")


def model(path, shape=(6, 6, 3), loss=CLASSES, weights=1.0, function="relu"):
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(16, 3, activation=function)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, keras.layers.Dense(3)(x))
    made.layers[1].kernel.assign_add(
        np.full(made.layers[1].kernel.shape, weights)
    )
    made.compile("sgd", loss)
    made.save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of what is right, and of all that is wrong with it."""
    place = tmp_path_factory.mktemp("place")
    pictures(place / "photos", "abc")
    pictures(place / "two", "ab")
    pictures(place / "one", "a")
    pictures(place / "single", "abc", 1)
    pictures(place / "few", "abc", 7)
    pictures(place / "hole", "abc")
    (place / "hole" / "d").mkdir()
    pictures(place / "broken", "abc")
    for number in range(2):
        (place / "broken" / "a" / f"{number}.png").write_text("no picture")
    pictures(place / "split" / "test", "abc")
    pictures(place / "new" / "train", "abc")
    pictures(place / "new" / "test", "abd")
    pictures(place / "plain" / ".", [""])
    (place / "empty" / "sub").mkdir(parents=True)
    x = np.zeros((30, 6, 6, 3), "float32")
    y = np.arange(30) % 3
    np.savez(place / "negative.npz", x=x, y=y - 1)
    np.savez(place / "gap.npz", x=x, y=2 * y)
    np.savez(place / "nan.npz", x=x + np.nan, y=y)
    np.savez(place / "short.npz", x=x, y=y[:9])
    np.savez(place / "large.npz", x=np.zeros((30, 7, 6, 3)), y=y)
    (place / "text.npz").write_text("no arrays")
    (place / "own.py").write_text(
        "def fails(): raise RuntimeError('no disk')\n"
        "def wants(path): return path\n"
        "def nothing(): return None\n"
    )
    (place / "slip.py").write_text("def (")
    model(place / "mine.keras")
    model(place / "values.keras", loss="mse")
    model(place / "nan.keras", weights=np.nan)
    model(place / "mish.keras", function="mish")
    model(place / "open.keras", (None, None, 3))
    model(place / "vector.keras", (6, 6, 5))
    (place / "text.keras").write_text("no model")
    with zipfile.ZipFile(place / "zip.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (place / "mine.h5").write_text("")
    (place / "file").write_text("")
    (place / "full").mkdir()
    (place / "full" / "thesis").write_text("mine")
    (place / "list.json").write_text("[]")
    for name, (key, value) in {
        **{key: (key, value) for key, (value, _) in RECIPES.items()},
        "bytes": ("budget", [{"macs": 0.5}, {"size": 1000}]),
    }.items():
        recipe = {"model": "mine.keras", "dataset": "photos", key: value}
        (place / f"{name}.json").write_text(json.dumps(recipe))
    return place


def tree(place):
    found = place.rglob("*")
    return {path: path.is_file() and path.stat().st_size for path in found}


# What is typed after `compress mine.keras --data photos`, and what is said.
OTHER_DATA = {
    "two": "has 3 outputs and the data 2 classes",
    "one": "at least two classes",
    "single": "leave none for validation",
    "few": "at least 20 training samples",
    "hole": "none in 'd'",
    "broken": "where 2 of 30 cannot be read",
    "split": "must have a folder 'train'",
    "new": "in the training split, which has a, b, c",
    "plain": "must have labels: pictures belong into a folder for each",
    "empty": "for each class, or pictures",
    "photo": "must be a folder, digits",
    "photo/": "No such folder",
    "negative.npz": "must be from 0 to",
    "gap.npz": "logits of 5 classes",
    "nan.npz": "must be finite",
    "short.npz": "9 targets for 30 inputs",
    "large.npz": "shape that the model takes",
    "text.npz": "NumPy cannot read",
    "own.py:fails": "RuntimeError: no disk, in ",
    "own.py:wants": "missing 1 required positional",
    "own.py:nothing": "must return",
    "own.py:other": "must have a function 'other'",
    "slip.py:data": "SyntaxError",
    "nowhere:data": "No module named 'nowhere'",
}
OTHER_MODELS = {
    "mine.kears": "Cannot read the recipe",
    "mine.h5": "it must be a JSON file or a .keras file",
    "mine": "No such recipe",
    "file": "not JSON",
    "list.json": "must be a JSON object",
    "other.keras": "No such model file",
    "text.keras": "Not a .keras model file",
    "zip.keras": "Keras cannot load this model",
    "values.keras": "outputs of values and the data 3 classes",
    "nan.keras": "must be finite",
    "open.keras": "fixed input size",
    "vector.keras": "1, 3 or 4 channels",
    "vgg16": "large enough for the network",
}
MORE = {
    "--macs 150%": "fraction in (0, 1]",
    "--macs half": "fraction in (0, 1]",
    "--macs 50": "A share is written 50%",
    "--macs 1%": "at least what has to stay",
    "--macs 50% 50%": "must differ",
    "--macs 50 %": "fraction in (0, 1]",
    "--front 1": "`--front` must be a whole number >= 2",
    "--size 32": "`size` must be null for 'mine.keras'",
    "--within -1": "`within` must be",
    "--seed -1": "`seed` must be",
    "--epochs many": "--epochs: invalid int value: 'many'",
    "--precision int7": "invalid choice: 'int7'",
    "--precision int8": "that has 'float32'",
    "--precision float32 --qat 1": "0 unless 'int8' is among the `precisions`",
    "--budget 50%": "unrecognized arguments",
    "--resume": "was not begun",
    "--out full": "--out for another",
    "--out full --force": "run folders only",
    "--out file/run": "Not a directory",
    "--out /": "must have a name",
    "--sparse lasso": "Unknown regularizer",
}
RECIPES = {
    "epoch": (1, "Did you mean `epochs`?"),
    "plan": ({"exlude": ["a"]}, "'exlude'"),
    "fine_tune": ({"teacher_weight": 2}, "`teacher_weight` must be"),
    "augment": ({"flp": True}, "augment='flp'"),
    "budget": ([{"macs": 0.5}, 3], "budget=3"),
    "optimizer": ({"name": "sgd", "learning_rate": 1}, "a key of its own"),
    "class_weights": ({"z": 1}, "which are a, b, c"),
    "name": ("..", "`name` must be"),
    "precisions": (["float32", "float32"], "each at most once"),
}
OTHERS = {
    "compress bytes.json": " size. No less can stay with round_to=8",
    "compress mine.keras": "give `data` (--data in a shell)",
    "compress mish.keras --data photos --qat 1": "no twin of this activation",
    "android full": "Not a finished run folder",
    "android --dense text.keras --small text.keras": "Not a LiteRT file",
    "demo-page full": "Not a finished run folder",
    "demo-page": "arguments are required: RUN",
}
CASES = [
    *((f"compress mine.keras --data {d}", s) for d, s in OTHER_DATA.items()),
    *((f"compress {m} --data photos", s) for m, s in OTHER_MODELS.items()),
    *((f"compress mine.keras --data photos {a}", s) for a, s in MORE.items()),
    *((f"compress {key}.json", said) for key, (_, said) in RECIPES.items()),
    *OTHERS.items(),
]


@pytest.mark.parametrize("command, said", CASES)
def test_one_sentence_and_nothing_written(
    place, command, said, capsys, monkeypatch
):
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = tree(place)
    try:
        code = cli.main(shlex.split(command))
    except SystemExit as end:
        code = end.code
    assert code == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("keras-nonconvex") and said in error
    assert "Received: " in error or "--help" in error
    assert tree(place) == before


def test_times_are_taken_again_before_a_budget_is_refused(
    place, tmp_path, monkeypatch
):
    taken = []

    def time(model):
        taken.append(model.count_params())
        return 2.0 - 0.1 * len(taken)

    monkeypatch.setitem(budgets.MEASURES, "time", time)
    limit = {"time": 1.55}
    with pytest.raises(ValueError, match="1.6 of 1.9 time. No less"):
        knc.compress(
            place / "mine.keras",
            place / "photos",
            tmp_path / "run",
            budget=limit,
        )
    # The whole network, then the smallest that there can be.
    whole, *least = taken
    assert least == [251] * 3 and whole > 251
    assert not list(tmp_path.iterdir())
