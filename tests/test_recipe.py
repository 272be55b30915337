"""Recipes: JSON both ways, and refusals before any work."""

import dataclasses
import json
import pathlib
import re
import shlex
import warnings

import pytest

from keras_nonconvex import Recipe
from keras_nonconvex import attach
from keras_nonconvex import models
from keras_nonconvex_main import cli

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "compress.md").read_text()
MINIMAL = {"name": "mine", "regularizers": {}}


SHIPPED = ["demo", "lenet5_fashion_mnist", "lenet5_fashion_mnist_zeros"]


def test_names_of_what_ships():
    assert Recipe.shipped() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes(name, tmp_path):
    recipe = Recipe.load(name)
    assert recipe.name == name and recipe.rules()
    path = tmp_path / "copy.json"
    path.write_text(recipe.to_json())
    assert Recipe.load(path) == recipe


def test_offline_settings_take_the_place():
    recipe = Recipe.load("demo").when_offline()
    assert recipe.dataset == "digits" and recipe.offline is None
    assert recipe.epochs == Recipe.load("demo").offline["epochs"]


def test_optimizer_decays_to_zero():
    recipe = Recipe.from_dict(
        {**MINIMAL, "optimizer": {"name": "adam"}, "learning_rate": 0.01}
    )
    optimizer = recipe.make_optimizer(10)
    assert type(optimizer).__name__ == "Adam"
    assert float(optimizer._learning_rate(0)) == pytest.approx(0.01)
    assert float(optimizer._learning_rate(10)) == pytest.approx(0, abs=1e-9)


BAD = [
    ({"epoch": 3}, "no key `epoch`. Did you mean `epochs`"),
    ({"epochs": 0}, "`epochs` must be"),
    ({"epochs": "3"}, "`epochs` must be"),
    ({"epochs": True}, "`epochs` must be"),
    ({"fine_tune_epochs": -1}, "`fine_tune_epochs` must be"),
    ({"learning_rate": 0}, "`learning_rate` must be"),
    ({"regularizers": []}, "`regularizers` must be"),
    ({"regularizers": {"*": {"name": "group_laso"}}}, "Near names"),
    (
        {"regularizers": {"*": {"name": "group_lasso", "strength": -1}}},
        "`strength` must be a finite number >= 0",
    ),
    ({"precisions": ["int8"]}, "`precisions` must be"),
    ({"precisions": ["float32", "int3"]}, "`precisions` must be"),
    ({"optimizer": {"name": "sgdd"}}, "`optimizer` must be"),
    ({"optimizer": "sgd"}, "`optimizer` must be"),
    ({"model": "lenet"}, "The networks are lenet5"),
    ({"offline": {"epochs": 3}}, "`offline` must be"),
    ({"offline": {"dataset": "digits", "epoch": 3}}, "no key `epoch`"),
    ({"budget": {"parms": 0.1}, "criterion": "group_norm"}, "`budget`"),
    ({"budget": {"params": 0.1}, "criterion": "zeros"}, "criterion"),
    ({"criterion": "group_norm"}, "needs a budget"),
    ({"round_to": 0}, "`round_to`"),
    ({"name": ""}, "`name` must be"),
    ({"name": "a/b"}, "`name` must be"),
    ({"keep_zeros": 1}, "`keep_zeros` must be"),
    ({"dataset": 3}, "`dataset` must be"),
]


@pytest.mark.parametrize("change,message", BAD)
def test_bad_recipes(change, message):
    with pytest.raises(ValueError) as error:
        Recipe.from_dict({**MINIMAL, **change})
    assert message in str(error.value)
    assert "Received:" in str(error.value)


def test_a_recipe_has_a_name_by_its_model_and_data():
    assert Recipe(model="a/mine.keras", dataset="b/photos/").name == (
        "mine_photos"
    )
    with pytest.raises(ValueError, match="`sparse` stands in place of"):
        Recipe.from_dict({**MINIMAL, "sparse": "group_lasso"})


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="No such recipe"):
        Recipe.load("dmo")
    with pytest.raises(ValueError, match="Cannot read the recipe"):
        Recipe.load(tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        Recipe.load(bad)
    bad.write_text("[]")
    with pytest.raises(ValueError, match="must be a JSON object"):
        Recipe.load(bad)


def test_every_field_is_documented():
    for field in dataclasses.fields(Recipe):
        assert field.name in Recipe.__doc__
    assert json.loads(Recipe.load("demo").to_json())


def test_the_page_has_every_key_and_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.M))
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    assert rows.keys() == fields.keys()
    defaults = dataclasses.asdict(Recipe())
    for name, stated in rows.items():
        if name != "name":
            default = json.loads(re.match("`(.*?)`", stated).group(1))
            assert default == json.loads(json.dumps(defaults[name])), name


def test_the_recipe_of_the_page_is_one():
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    recipe = Recipe.from_dict(json.loads(text))
    # Of the shape of its data. A pattern without a layer is refused, and a
    # layer without a pattern is a warning.
    assert recipe.dataset == "fashion_mnist"
    model = models.get(recipe.model)(input_shape=(28, 28, 1), classes=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = attach(model, recipe.rules())
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            assert layer.kernel_regularizer is not None, layer.name
    (line,) = re.findall(r"^These recipes ship: (.*?)\. ", PAGE, re.M)
    assert re.findall("`(.*?)`", line) == SHIPPED


def test_the_page_shows_every_command():
    parser = cli._parser()
    lines = re.findall(r"^keras-nonconvex (.*)$", PAGE, re.M)
    for line in lines:
        # Ends the process if the line is not understood.
        parser.parse_args(shlex.split(line))
    (commands,) = parser._subparsers._group_actions
    assert {line.split()[0] for line in lines} == set(commands.choices)
