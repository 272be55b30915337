"""Data for training: three splits, from every source, as streams."""

import json
import pathlib
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nonconvex import datasets
from keras_nonconvex import ranges
from keras_nonconvex.datasets import augmentation
from keras_nonconvex.datasets import cache
from keras_nonconvex.datasets import pictures

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
RNG = np.random.default_rng(0)


def draw(path, value=0, size=(4, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    color = value if mode == "L" else (value,) * 3
    Image.new(mode, size, color).save(path)


def class_folders(folder, sizes, start=0):
    """Pictures whose gray tells which they are."""
    for label, count in sizes.items():
        for i in range(count):
            draw(folder / label / f"{i:02}.png", start + i)
    return folder


def model_of(shape=(4, 4, 3), *start, units=3):
    return keras.Sequential(
        [
            keras.Input(shape),
            *start,
            keras.layers.Flatten(),
            keras.layers.Dense(units),
        ]
    )


def batches(split, size=4, **options):
    """[(x, y, ...)] as arrays."""
    data = split.dataset(size, **options)
    return list(data.as_numpy_iterator())


def whole(split, **options):
    """All of a pass: (x, y, ...)."""
    parts = zip(*batches(split, **options), strict=True)
    return [np.concatenate(part) for part in parts]


def sizes(data):
    return [len(s) for s in (data.train, data.validation, data.test)]


# ---- the division


def test_what_is_missing_is_divided_off_in_each_class_alike(tmp_path):
    folder = class_folders(tmp_path, {"a": 20, "b": 10, "c": 3, "d": 1})
    data = datasets.splits(folder)
    assert data.classes == ("a", "b", "c", "d") and data.kind == "classes"
    counts = [
        np.bincount(split.labels, minlength=4).tolist()
        for split in (data.train, data.validation, data.test)
    ]
    assert counts == [[14, 7, 1, 1], [2, 1, 1, 0], [4, 2, 1, 0]]
    names = [*data.train.keys, *data.validation.keys, *data.test.keys]
    assert sorted(names) == sorted(
        p.relative_to(folder).as_posix() for p in folder.glob("*/*")
    )
    assert datasets.splits(folder).train.keys == data.train.keys
    assert datasets.splits(folder, seed=1).train.keys != data.train.keys


@pytest.mark.parametrize(
    "given", [(), ("validation",), ("test",), ("validation", "test")]
)
def test_splits_of_a_folder_stay_as_they_are(tmp_path, given):
    for split in ("train", *given):
        class_folders(tmp_path / split, {"a": 10, "b": 10}, start=len(split))
    data = datasets.splits(tmp_path)
    for split in ("train", "validation", "test"):
        keys = getattr(data, split).keys
        own = split if split in given else "train"
        assert {key.split("/")[0] for key in keys} == {own}
    left = 20 - 4 * ("test" not in given) - 2 * ("validation" not in given)
    assert len(data.train) == left
    for split in given:
        assert len(getattr(data, split)) == 20


def test_lists_bring_the_same_splits_back(tmp_path):
    folder = class_folders(tmp_path / "photos", {"a": 9, "b": 9})
    data = datasets.splits(folder, seed=5)
    data.save_lists(tmp_path / "lists.json")
    # A new picture is not part of the run that goes on.
    draw(folder / "a" / "new.png", 99)
    again = datasets.splits(folder, lists=tmp_path / "lists.json")
    for split in ("train", "validation", "test"):
        one, other = getattr(data, split), getattr(again, split)
        assert one.keys == other.keys
        assert np.array_equal(one.arrays()[0], other.arrays()[0])
        assert np.array_equal(one.labels, other.labels)
    (folder / "a" / "03.png").unlink()
    with pytest.raises(ValueError, match="1 of .* are gone.*'a/03.png'"):
        datasets.splits(folder, lists=tmp_path / "lists.json")
    (tmp_path / "other.json").write_text('{"train": []}')
    for name in ("other.json", "missing.json"):
        with pytest.raises(ValueError, match=rf"Received: lists='.*{name}'"):
            datasets.splits(folder, lists=tmp_path / name)


def test_lists_of_arrays(tmp_path):
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = datasets.splits(tmp_path / "a.npz", seed=3)
    assert sizes(data) == [14, 2, 4]
    data.save_lists(tmp_path / "lists.json")
    json.loads((tmp_path / "lists.json").read_text())
    again = datasets.splits(tmp_path / "a.npz", lists=tmp_path / "lists.json")
    assert np.array_equal(data.test.arrays()[0], again.test.arrays()[0])


# ---- the range and size of a model


@pytest.mark.parametrize(
    "start, wanted",
    [
        ((), (0, 1)),
        ((keras.layers.Rescaling(1 / 255),), (0, 255)),
        ((keras.layers.Rescaling(1 / 127.5, -1),), (0, 255)),
        ((keras.layers.Rescaling(2.0, -1),), (0, 1)),
    ],
)
def test_pictures_get_the_size_and_the_range_of_the_model(
    tmp_path, start, wanted
):
    # Dark pictures do not look like another range.
    folder = class_folders(tmp_path, {"a": 9, "b": 9, "c": 9})
    data = datasets.splits(folder, model_of((5, 6, 3), *start))
    x, y = data.train.arrays()
    assert x.shape == (len(y), 5, 6, 3) and x.dtype == np.float32
    numbers = [int(key[2:4]) for key in data.train.keys]
    scale = 255 / wanted[1]
    np.testing.assert_allclose(x[:, 0, 0, 0] * scale, numbers, atol=1e-4)
    assert np.array_equal(whole(data.train)[0], x)


def test_small_pictures_may_be_those_of_image_dataset_from_directory(tmp_path):
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (9, 11, 3), "uint8")
        Image.fromarray(pixels).save(path)
    right = keras.utils.image_dataset_from_directory(
        tmp_path / "photos", image_size=(4, 5), shuffle=False, verbose=False
    )
    right = np.concatenate([x for x, _ in right.as_numpy_iterator()])
    scale = keras.layers.Rescaling(1 / 255)
    for antialias in (True, False):
        data = datasets.splits(
            tmp_path / "photos",
            model_of((4, 5, 3), scale),
            cache=tmp_path / "cache",
            antialias=antialias,
        )
        keys = [
            f"{c}/{n:02}.png" for c in "ab" for n in range("ab".index(c), 12, 2)
        ]
        rows = [keys.index(key) for key in data.train.keys]
        apart = np.abs(data.train.arrays()[0] - right[rows]).max()
        assert apart > 20 if antialias else apart <= 0.51


def test_every_source_gives_the_same_samples(tmp_path, monkeypatch, digits):
    few = slice(0, 60)
    x, y = digits.x_train[few], digits.y_train[few]
    x_test, y_test = digits.x_test[:20], digits.y_test[:20]
    whole_numbers = (255 * x).round().astype("uint8")
    np.savez(
        tmp_path / "a.npz",
        x_train=x,
        y_train=y,
        x_val=x_test,
        y_val=y_test,
        x_test=x_test,
        y_test=y_test,
        classes=digits.classes,
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_digits.py").write_text(
        "import numpy as np, tensorflow as tf\n"
        "from keras_nonconvex import datasets\n"
        "a = np.load('a.npz')\n"
        "train, test = [(a[f'x_{s}'], a[f'y_{s}']) for s in ('train', 'test')]"
        "\n"
        "def three(): return train, test, test\n"
        "def named(): return {'train': train, 'validation': test, 'test':"
        " test, 'classes': '0123456789'}\n"
        "def streams():\n"
        "    return [tf.data.Dataset.from_tensor_slices(s).batch(7)\n"
        "            for s in (train, test, test)]\n"
        "def gray():\n"
        "    x, y = train\n"
        "    return (x[..., 0], y[:, None]), (test[0][..., 0], test[1])\n"
        "def images(): return datasets.Images('i', *train, *test, ())\n"
    )
    model = model_of((28, 28, 1), units=10)
    for name in (
        "a.npz",
        "own_digits:three",
        "own_digits:named",
        "own_digits.py:streams",
        f"{tmp_path}/own_digits.py:gray",
        "own_digits:images",
    ):
        data = datasets.splits(name, model)
        assert data.kind == "classes" and len(data.classes) == 10
        x_found, y_found = data.test.arrays()
        assert np.array_equal(x_found, x_test)
        assert np.array_equal(y_found, y_test) and len(data.test) == 20
        x_found, y_found = whole(data.test, size=8)
        assert np.array_equal(x_found, x_test)
        assert np.array_equal(y_found, y_test)
        total = len(data.train) + len(data.validation)
        assert total == (60 if re.search("gray|images", name) else 80)
    loaded = datasets.load("own_digits:gray")
    assert loaded.x_train.shape == (60, 28, 28)
    loaded = datasets.load(tmp_path / "a.npz")
    assert np.array_equal(loaded.x_test, x_test)
    assert loaded.classes == digits.classes
    # Bytes are pixels.
    np.savez(tmp_path / "b.npz", x=whole_numbers, y=y)
    data = datasets.splits(tmp_path / "b.npz", model)
    found = data.train.arrays()[0]
    np.testing.assert_allclose(found, x[data.train.keys], atol=1 / 500)


class Builder:
    """What the package asks of a builder of tensorflow-datasets."""

    name = "signs"

    def __init__(self, digits, own=(28, 28, 1)):
        self.data, start = {}, 0
        for split, count in (
            ("train", 50),
            ("extra", 30),
            ("validation", 20),
            ("test", 20),
        ):
            rows = slice(start, start := start + count)
            y = digits.y_train[rows] - (99 if split == "test" else 0)
            x = (digits.x_train[rows] * 255).round().astype("uint8")
            self.data[split] = x, y
        feature = type("", (), {"shape": own})
        label = type("", (), {"names": [*"0123456789"]})
        self.info = type("", (), {})
        self.info.features = {"image": feature, "label": label}
        self.info.splits = list(self.data)
        self.info.full_name = "signs/1.0.0"

    def as_dataset(self, split, as_supervised, decoders=None):
        parts = zip(*(self.data[s] for s in split.split("+")), strict=True)
        parts = tuple(np.concatenate(part) for part in parts)
        return tf.data.Dataset.from_tensor_slices(parts)


def test_tensorflow_datasets_keep_their_splits(digits, tmp_path, monkeypatch):
    model = model_of((28, 28, 3), units=10)
    for own in ((28, 28, 1), (None, None, 1)):
        for folder in (None, tmp_path / "cache"):
            builder = Builder(digits, own)
            monkeypatch.setattr(
                datasets.opening.tfds,
                "_prepared",
                lambda name, builder=builder: (builder, "train+extra"),
            )
            data = datasets.splits("signs+extra", model, cache=folder)
            # The labels of its test pictures are secret.
            assert sizes(data)[1] == 20 and sum(sizes(data)) == 100
            x, y = data.validation.arrays()
            original = digits.x_train[80:100]
            np.testing.assert_allclose(x[..., 2:], original, atol=1 / 500)
            assert np.array_equal(y, digits.y_train[80:100])
    with pytest.raises(ValueError, match="several sizes: give the size"):
        datasets.splits("signs+extra")


# ---- the stream


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return class_folders(folder, {"a": 20, "b": 10, "c": 4})


def test_a_pass_has_every_sample_once(photos, monkeypatch):
    data = datasets.splits(photos)
    made = batches(data.train, 5, shuffle=True)
    assert [len(x) for x, _ in made] == [5, 5, 5, 5, 3]
    x, y = whole(data.train, shuffle=True)
    order = np.lexsort((x[:, 0, 0, 0], y))
    x_all, y_all = data.train.arrays()
    again = np.lexsort((x_all[:, 0, 0, 0], y_all))
    assert np.array_equal(x[order], x_all[again])
    assert np.array_equal(y[order], y_all[again])
    assert not np.array_equal(y, y_all)
    # Decoded anew, in several threads, it is the same stream.
    monkeypatch.setattr(cache, "_IN_MEMORY", 0)
    anew = datasets.splits(photos)
    assert isinstance(anew.train._part.x, pictures.Pictures)
    options = {"shuffle": True, "seed": 4, "augment": {"flip": True, "crop": 1}}
    for one, other in zip(
        batches(data.train, **options),
        batches(anew.train, **options),
        strict=True,
    ):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_a_training_that_goes_on_sees_what_it_would_have_seen(photos):
    split = datasets.splits(photos).train
    options = {
        "shuffle": True,
        "seed": 2,
        "augment": {"flip": "both", "crop": 1, "color": 0.2},
    }
    data = split.dataset(8, **options)
    passes = [list(data.as_numpy_iterator()) for _ in range(3)]
    assert len(data) == 3 and len(passes[0]) == 3
    same = [np.array_equal(passes[0][0][0], each[0][0]) for each in passes]
    assert same == [True, False, False]
    later = list(split.dataset(8, **options, epoch=2).as_numpy_iterator())
    endless = split.dataset(8, **options, repeat=True)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    flow = list(endless.take(9).as_numpy_iterator())
    for i in range(3):
        for a, b, c in zip(passes[2][i], later[i], flow[6 + i], strict=True):
            assert np.array_equal(a, b) and np.array_equal(a, c)


def test_keras_trains_on_it(photos):
    model = model_of(units=3)
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    data = datasets.splits(photos, model)
    train = data.train.dataset(
        8, shuffle=True, augment={"flip": True}, class_weights="balanced"
    )
    history = model.fit(
        train,
        validation_data=data.validation.dataset(8),
        epochs=2,
        verbose=0,
    )
    assert np.isfinite(history.history["val_loss"]).all()


def test_class_weights(photos):
    split = datasets.splits(photos).train
    counts = np.bincount(split.labels)
    x, y, weights = whole(split, class_weights="balanced")
    assert x.shape[0] == len(split) and weights.dtype == np.float32
    totals = np.bincount(y, weights)
    np.testing.assert_allclose(totals, len(split) / 3, rtol=1e-6)
    np.testing.assert_allclose(weights[y == 2], len(split) / 3 / counts[2])
    *_, weights = whole(split, class_weights={"b": 3, 2: 0.5})
    assert np.array_equal(weights, np.array([1, 3, 0.5])[split.labels])
    for wrong in ("equal", {"d": 1}, {3: 1}, {"a": -1}, [1, 2, 3]):
        with pytest.raises(ValueError, match="Received: class_weights="):
            split.dataset(4, class_weights=wrong)


# ---- changes


def test_flips_and_crops_move_maps_like_pictures():
    x = RNG.integers(1, 256, (40, 6, 7, 1)).astype("float32")
    settings = augmentation.checked({"flip": "both", "crop": 2}, maps=True)
    rng = np.random.default_rng(1)
    moved, maps = augmentation.changed(x, x[..., 0], settings, rng)
    assert np.array_equal(moved[..., 0], maps)
    assert moved.shape == x.shape
    # The middle of a picture always stays, mirrored or not.
    for one, other in zip(x, moved, strict=True):
        assert set(one[2:4, 2:5].ravel()) & set(other.ravel())
    mirrored = augmentation.checked({"flip": True})
    flipped, _ = augmentation.changed(x, None, mirrored, rng)
    turned = [
        np.array_equal(a[:, ::-1], b) for a, b in zip(x, flipped, strict=True)
    ]
    kept = [np.array_equal(a, b) for a, b in zip(x, flipped, strict=True)]
    assert all(np.add(turned, kept) == 1) and 8 < sum(turned) < 32


def test_colors_change_and_stay_colors():
    x = RNG.uniform(0, 255, (50, 4, 4, 3)).astype("float32")
    rng = np.random.default_rng(1)
    changed, _ = augmentation.changed(x, None, {"color": 0.3}, rng)
    assert changed.min() >= 0 and changed.max() <= 255
    ratio = changed.mean((1, 2, 3)) / x.mean((1, 2, 3))
    assert ratio.std() > 0.1 and 0.65 < ratio.min() < ratio.max() < 1.31
    slight, _ = augmentation.changed(x, None, {"color": 1e-6}, rng)
    np.testing.assert_allclose(slight, x, atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_is_that_of_keras(channels):
    x = RNG.uniform(0, 255, (3, 8, 8, channels)).astype("float32")
    settings = augmentation.checked({"rand_augment": {"num_ops": 1}})
    made = [
        augmentation.changed(x, None, settings, np.random.default_rng(seed))[0]
        for seed in (0, 0, 1)
    ]
    assert made[0].shape == x.shape and made[0].dtype == np.float32
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    assert made[0].min() >= 0 and made[0].max() <= 255


def test_only_legal_changes():
    for wrong, name in (
        ({"flips": True}, "augment='flips'"),
        ({"flip": "left"}, "flip='left'"),
        ({"crop": 0.5}, "crop=0.5"),
        ({"color": 2}, "color=2"),
        ({"rand_augment": {"ops": 2}}, "rand_augment={'ops': 2}"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"Received: {name}")):
            augmentation.checked(wrong)
    with pytest.raises(ValueError, match="would not move along"):
        augmentation.checked({"rand_augment": True}, maps=True)
    assert augmentation.checked({"flip": False, "crop": None}) == {}


# ---- other targets


def test_tables_of_yes_or_no_numbers_and_names(tmp_path):
    for i in range(20):
        draw(tmp_path / f"{i:02}.png", i)
    table = tmp_path / "targets.csv"
    for head, row, kind, classes in (
        ("file,sun,sea", "{0:02}.png,{1},{2}", "yes or no", ("sun", "sea")),
        ("file,x,y", "{0:02},{0}.5,-{0}", "values", ("x", "y")),
        ("file,animal", "{0:02}.png,{3}", "classes", ("cat", "dog")),
    ):
        rows = [
            row.format(i, i % 2, i % 3 == 0, "cat dog".split()[i % 2])
            for i in range(20)
        ]
        text = "\n".join([head, *rows]).replace("True", "1")
        table.write_text(text.replace("False", "0"))
        data = datasets.splits(tmp_path)
        assert data.kind == kind and data.classes == classes
        assert sizes(data) == [14, 2, 4]
        x, y = whole(data.train, shuffle=True)
        numbers = (x[:, 0, 0, 0] * 255).round().astype(int)
        right = {
            "yes or no": np.stack([numbers % 2, numbers % 3 == 0], 1),
            "values": np.stack([numbers + 0.5, -numbers], 1),
            "classes": numbers % 2,
        }[kind]
        assert np.array_equal(y, right)
        if kind != "classes":
            with pytest.raises(ValueError, match="unless each sample has one"):
                data.train.dataset(4, class_weights="balanced")


def test_tables_of_splits_have_the_classes_of_the_training(tmp_path):
    for split, names in (("train", "cab"), ("val", "ba"), ("test", "cc")):
        for i in range(4):
            draw(tmp_path / split / f"{i}.png", i)
        rows = [f"{i}.png,{names[i % len(names)]}" for i in range(4)]
        text = "\n".join(["file,letter", *rows])
        (tmp_path / split / "letters.csv").write_text(text)
    data = datasets.splits(tmp_path)
    assert data.classes == ("a", "b", "c")
    assert data.validation.labels.tolist() == [1, 0, 1, 0]
    assert data.test.labels.tolist() == [2] * 4
    (tmp_path / "test" / "letters.csv").write_text("file,letter\n0.png,d")
    refused("must be in the training split.*with 'd'", tmp_path)
    # By chance these values are zeros and ones.
    for split, values in (("train", 2), ("val", 1), ("test", 0)):
        text = f"file,letter\n0.png,{values}\n1.png,1"
        (tmp_path / split / "letters.csv").write_text(text)
    assert datasets.splits(tmp_path).kind == "values"


def test_masks(tmp_path):
    for i in range(10):
        draw(tmp_path / "images" / f"{i}.jpg", 20 * i, (8, 6))
        mask = np.zeros((6, 8), "uint8")
        mask[:, i % 8] = 1 + i % 2
        path = tmp_path / "masks" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(path)
    data = datasets.splits(tmp_path)
    assert data.kind == "classes" and data.classes == ("0", "1", "2")
    assert sizes(data) == [7, 1, 2]
    x, y = whole(data.train, augment={"flip": True, "crop": 1})
    assert x.shape == (7, 6, 8, 3) and y.shape == (7, 6, 8)
    assert y.dtype == np.int32
    x, y = data.train.arrays()
    numbers = [int(key[7]) for key in data.train.keys]
    assert [m.max() for m in y] == [1 + i % 2 for i in numbers]
    # Maps of a model that halves the size.
    conv = keras.layers.Conv2D(3, 3, 2, padding="same")
    model = keras.Sequential([keras.Input((6, 8, 3)), conv])
    data = datasets.splits(tmp_path, model, cache=tmp_path / "cache")
    assert data.test.arrays()[1].shape == (2, 3, 4)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_pictures_without_targets(tmp_path):
    for i in range(10):
        draw(tmp_path / f"{i}.png", i)
    data = datasets.splits(tmp_path)
    assert data.kind is None and data.train.labels is None
    parts = batches(data.train, 4)
    assert [part.shape[0] for part in parts] == [4, 3]
    assert np.array_equal(np.concatenate(parts), data.train.arrays()[0])


def test_broken_pictures_are_left_out_up_to_a_share(tmp_path):
    folder = class_folders(tmp_path, {"a": 20, "b": 20})
    (folder / "a" / "07.png").write_text("no picture")
    with pytest.warns(UserWarning, match="1 of 40 pictures.*07.png"):
        data = datasets.splits(folder)
    assert sum(sizes(data)) == 39 and list(data.broken) == [
        str(folder / "a" / "07.png")
    ]
    for name in ("01", "02"):
        (folder / "b" / f"{name}.png").write_text("no picture")
    with pytest.raises(ValueError, match="At most 5%.*3 of 40.*07.png"):
        datasets.splits(folder)


# ---- one sentence each


def refused(message, *arguments, **options):
    with pytest.raises(ValueError, match=message) as error:
        datasets.splits(*arguments, **options)
    assert "Received: " in str(error.value)


def test_pictures_beside_class_folders_are_named_and_left_out(tmp_path):
    for split, count in (("train", 9), ("test", 5)):
        class_folders(tmp_path / split, {"a": count, "b": count})
        (tmp_path / split / "notes.txt").write_text("signs")
        draw(tmp_path / split / "stray.png")
    with pytest.warns(UserWarning, match="left out, 1 in all: stray.png"):
        data = datasets.splits(tmp_path)
    assert data.classes == ("a", "b")
    assert sizes(data) == [16, 2, 10]
    # Of one folder nobody can tell whether it is a class.
    plain = class_folders(tmp_path / "plain", {"thumbnails": 3})
    for i in range(5):
        draw(plain / f"{i}.png")
    assert datasets.splits(plain).kind is None


def test_folders_that_cannot_be_trained_on(tmp_path):
    folder = class_folders(tmp_path / "one", {"a": 9})
    refused("at least two classes.*only class 'a'", folder)
    (folder / "b").mkdir()
    refused("Each class folder must have pictures.*none in 'b'", folder)
    (tmp_path / "nothing").mkdir()
    refused("one folder of pictures", tmp_path / "nothing")
    refused("No such folder", f"{tmp_path}/missing")
    split = tmp_path / "split"
    class_folders(split / "train", {"a": 5, "b": 5})
    class_folders(split / "test", {"a": 5, "c": 5})
    refused("All classes must be in the training split.*'c'", split)
    class_folders(tmp_path / "late" / "test", {"a": 5, "b": 5})
    refused("must have a folder 'train'", tmp_path / "late")
    draw(tmp_path / "mixed" / "train" / "0.png")
    (tmp_path / "mixed" / "train" / "empty").mkdir()
    class_folders(tmp_path / "mixed" / "test", {"a": 2})
    refused(
        "of the training split, none. Received: .*with a", f"{tmp_path}/mixed"
    )
    few = class_folders(tmp_path / "few", {"a": 1, "b": 1})
    refused("leave none for validation and test", few)
    sizes_differ = class_folders(tmp_path / "sizes", {"a": 5, "b": 5})
    draw(sizes_differ / "a" / "x.png", 0, (9, 9))
    refused("Pictures of several sizes", sizes_differ)
    assert datasets.splits(sizes_differ, shape=(4, 4, 3)).train.shape[0] == 4
    refused("1, 3 or 4 channels.*2", few, shape=(4, 4, 2))
    refused("what the model takes", few, model_of(), shape=(8, 8, 3))
    refused("fit='fill'", few, fit="fill")
    all_broken = tmp_path / "broken"
    for name in "ab":
        (all_broken / name).mkdir(parents=True)
        (all_broken / name / "x.png").write_text("no picture")
    refused("None of 2 pictures can be read.*x.png", all_broken)


def test_tables_and_masks_that_cannot_be_trained_on(tmp_path):
    draw(tmp_path / "t" / "0.png")
    table = tmp_path / "t" / "a.csv"
    for text, message in (
        ("file,y\n0.png,1\n1.png,2", "1 others such as '1.png'"),
        ("file,y\n0.png,1,2", "2 column names and rows of 3"),
        ("file\n0.png", "1 column names"),
        ("file,y", "rows of no columns"),
        ("file,y,z\n0.png,1,cat", "'1', 'cat'"),
        ("file,y\n0.png,nan", "must be finite.*'0.png'"),
    ):
        table.write_text(text)
        refused(message, tmp_path / "t")
    (tmp_path / "t" / "b.csv").write_text("")
    refused("One CSV file.*a.csv, b.csv", tmp_path / "t")
    masks = tmp_path / "m"
    for i in range(10):
        draw(masks / "images" / f"{i}.png")
        if i:
            draw(masks / "masks" / f"{i}.png", 0, mode="L")
    refused("one of the same name in 'masks'.*'0.png'", masks)
    draw(masks / "masks" / "0.png", 0, mode="L")
    refused("numbers up to 0", masks)
    two = Image.new("L", (4, 4), 255)
    two.putpixel((0, 0), 7)
    two.save(masks / "masks" / "0.png")
    refused("not 255 beside others", masks)


def test_arrays_that_cannot_be_trained_on(tmp_path):
    x, y = RNG.uniform(size=(20, 4, 4, 3)), np.arange(20) % 3
    bad = x.copy()
    bad[3, 0, 0, 0] = np.nan
    for message, arrays in (
        ("NaN or infinite values in the inputs", {"x": bad, "y": y}),
        ("19 targets for 20 inputs", {"x": x, "y": y[:-1]}),
        ("at least two classes", {"x": x, "y": 0 * y}),
        (
            "from 0 to 2.*Received: -1",
            {"x": x, "y": y - 1, "classes": [*"abc"]},
        ),
        ("from 0 to 1.*Received: 2", {"x": x, "y": y, "classes": [*"ab"]}),
        ("Targets must be numbers", {"x": x, "y": y.astype(str)}),
        (
            "2 names for 3 columns",
            {"x": x, "y": np.eye(3)[y], "classes": [*"ab"]},
        ),
        ("must have samples", {"x": x[:0], "y": y[:0]}),
        ("values from 0 to 1,", {"x": 900 * x, "y": y}),
        ("Received: 3 in ", {"x_test": x, "y_test": y + 1}),
        ("of the same shape.*None in ", {"x_test": x}),
    ):
        name = tmp_path / "a.npz"
        if "x_test" in arrays:
            arrays |= {"x_train": x, "y_train": y}
        np.savez(name, **arrays)
        refused(message, name)
    np.savez(name, x=x, y=y)
    refused(
        "shape that the model takes, .*8, 8, 3.*4, 4, 3",
        name,
        model_of((8, 8, 3)),
    )
    refused("No such file", tmp_path / "b.npz")
    refused("Near names: .*mnist", "fashion_mnst")


def test_functions_that_give_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poor_data.py").write_text(
        "import tensorflow as tf, numpy as np\n"
        "x, y = np.zeros((8, 4, 4, 3)), np.arange(8) % 2\n"
        "number = 1\n"
        "def nothing(): return None\n"
        "def key(): return {'training': (x, y)}\n"
        "def stream(): return [tf.data.Dataset.from_tensor_slices((x, y))] * 2"
        "\n"
    )
    refused("cannot be imported", "no_such_module:load")
    refused("must have a function 'load'", "poor_data:load")
    refused("must have a function 'number'", "poor_data:number")
    refused("of type NoneType", "poor_data:nothing")
    refused("keys training", "poor_data:key")
    x, y = np.zeros((8, 4, 4, 3)), np.arange(8) % 2
    stream = tf.data.Dataset.from_tensor_slices((x, y))
    refused("Dataset.*no tuple of two or three", stream)
    refused("no tuple of two or three", [(x, y)])
    refused("with ndarray for train", (x, y))
    refused(
        "`data.'train'.` must have values from 0", {"train": (9 * x + 9, y)}
    )
    refused("may shuffle.*without validation", "poor_data:stream")


def test_range_of_streams_and_arrays_is_one(tmp_path, monkeypatch):
    x, y = RNG.uniform(0, 255, (20, 4, 4, 3)).astype("uint8"), np.arange(20) % 2
    monkeypatch.setattr(
        datasets.functions,
        "_function",
        lambda name: (
            lambda: [
                tf.data.Dataset.from_tensor_slices((x, y)) for _ in range(3)
            ]
        ),
    )
    model = model_of((4, 4, 3), keras.layers.Rescaling(2.0, -1))
    data = datasets.splits("own:streams", model)
    np.testing.assert_allclose(data.train.arrays()[0], x / 255, atol=1e-6)
    few, labels = data.train.arrays(5)
    assert len(few) == 5 and len(labels) == 5
    # In a pass each sample once; another pass has another order, and a
    # training that goes on has its own.
    options = {"shuffle": True, "augment": {"color": 0.1}}
    # The user's own seed is neither here nor there.
    keras.utils.set_random_seed(0)
    stream = data.train.dataset(8, **options)
    one, two = (list(stream.as_numpy_iterator()) for _ in range(2))
    assert [len(part) for part, _ in one] == [8, 8, 4]
    assert ranges.UNIT.high >= one[0][0].max() > 0.5
    keras.utils.set_random_seed(1)
    later = batches(data.train, 8, **options, epoch=1)
    endless = data.train.dataset(8, **options, repeat=True).take(6)
    flow = list(endless.as_numpy_iterator())
    for i in range(3):
        assert not np.array_equal(one[i][0], two[i][0])
        assert np.array_equal(two[i][0], later[i][0])
        assert np.array_equal(two[i][0], flow[3 + i][0])


def numbered(count=40, targets=None):
    """(x, y, weights) that tell which sample they are of."""
    numbers = np.arange(count, dtype="float32")
    x = np.tile(numbers[:, None, None, None] / count, (1, 4, 4, 3))
    return x, np.arange(count) % 3 if targets is None else targets, numbers


@pytest.mark.parametrize("targets", ["classes", "column", "maps"])
def test_what_is_measured_of_a_stream_has_one_order(targets, tmp_path):
    x, y, weights = numbered()
    if targets == "column":
        y = y[:, None]
    elif targets == "maps":
        y = np.tile(weights[:, None, None].astype("uint8"), (1, 4, 4))
    # As `image_dataset_from_directory` does: another order in each pass.
    stream = tf.data.Dataset.from_tensor_slices((x, y, weights)).shuffle(40)
    data = datasets.splits([stream.batch(7)] * 3, cache=tmp_path / "cache")
    assert data.kind == "classes" and len(data.train) == 40
    assert data.train.labels.ndim == data.test.labels.ndim
    for split in (data.validation, data.test):
        first, second = (whole(split, size=9) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert np.array_equal(a, b)
        order = first[2].astype(int)
        assert sorted(order) == list(range(40)) and order.tolist() != sorted(
            order
        )
        for images, labels in (first[:2], split.arrays()):
            assert np.array_equal(images, x[order])
            assert np.array_equal(labels, np.squeeze(y)[order])
        assert np.array_equal(split.labels, np.squeeze(y)[order])
        few, labels = split.arrays(9)
        found = np.round(40 * few[:, 0, 0, 0]).astype(int)
        assert np.array_equal(labels, np.squeeze(y)[found])
    # What is kept has no name that an interruption could leave behind.
    assert not list((tmp_path / "cache").iterdir())


def test_arrays_and_streams_go_together():
    x, y, _ = numbered()
    stream = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40)
    for given in ([(x, y), stream], [(x, y), stream, stream]):
        data = datasets.splits(given)
        assert np.array_equal(whole(data.test)[1], data.test.labels)
    data = datasets.splits([stream, (x, y), stream.batch(3)])
    assert sizes(data) == [40, 40, 40]
    assert np.array_equal(data.validation.labels, y)
    assert np.array_equal(whole(data.test)[1], data.test.labels)


def test_streams_that_cannot_be_trained_on(monkeypatch):
    x, y, _ = numbered()
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    for place, split in enumerate(("train", "validation", "test")):
        for bad, message in (
            (stream.repeat(), "must end after one pass.*infinitely many"),
            (stream.repeat().unbatch().batch(4).prefetch(1), "must end"),
            (stream.take(0), "must have samples"),
        ):
            given = [stream] * 3
            given[place] = bad
            refused(f"{message}.*{split}", given)
    bad = tf.data.Dataset.from_tensor_slices((x * np.nan, y))
    refused("NaN or infinite.*test", [stream, stream, bad])
    monkeypatch.setattr(
        datasets.streams.shutil,
        "disk_usage",
        lambda folder: types.SimpleNamespace(free=1000),
    )
    refused("half of what is free.*validation", [stream] * 3)


def test_the_page_on_data_is_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "data.md").read_text()
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(code, "data.md", "exec"), names)
    assert sum(sizes(names["data"])) == 300
    keys = re.findall(r'^\| `"(\w+)"` \|', text, re.M)
    assert keys == list(augmentation._CHANGES)
    # The shares and limits that the page tells.
    assert datasets.opening.dividing.SHARES == {"test": 0.2, "validation": 0.1}
    assert cache._IN_MEMORY == 256 * 2**20
    assert datasets.opening.folder._BROKEN == 0.05
