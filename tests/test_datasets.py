"""Real data, and one clear sentence where there is none."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from keras_nonconvex import datasets
from keras_nonconvex.datasets import tfds
from keras_nonconvex.datasets.base import spread

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "add-a-data-source.md"


def check(data, train, test, shape, classes):
    assert data.x_train.shape == (train, *shape) == (train, *data.input_shape)
    assert data.x_test.shape == (test, *shape)
    assert data.x_train.dtype == np.float32 and data.y_train.dtype == np.int64
    assert data.x_train.min() == 0 and data.x_train.max() == 1
    assert set(data.y_train) == set(data.y_test) == set(range(classes))
    assert len(data.classes) == classes


def test_digits(digits):
    check(digits, 1438, 359, (28, 28, 1), 10)
    # Resized, not invented: averaged cells look like the 8 x 8 originals.
    from sklearn.datasets import load_digits

    original = load_digits().images[4]
    fine = np.kron(data_row(digits), np.ones((2, 2)))
    cells = fine.reshape(8, 7, 8, 7).mean(axis=(1, 3))
    assert np.corrcoef(cells.ravel(), original.ravel())[0, 1] > 0.97


def data_row(digits):
    return digits.x_test[0, ..., 0]


# Sources of paths take other names than their own.
NAMED = [name for name, one in datasets.REGISTRY.items() if one.takes(name)]


@pytest.mark.parametrize("name", NAMED)
def test_every_source_with_a_name(name):
    try:
        data = datasets.load(name)
    except datasets.NotAvailable as error:
        pytest.skip(str(error))
    train, test = len(data.x_train), len(data.x_test)
    check(data, train, test, data.input_shape, len(data.classes))
    assert data.y_train.shape == (train,) and data.y_test.shape == (test,)
    again = datasets.load(data.name)
    assert np.array_equal(again.x_test, data.x_test)


def test_sources_with_a_name_are_found():
    assert "digits" in NAMED and "a .npy or .npz file" not in NAMED


def test_fashion_mnist(fashion_mnist):
    check(fashion_mnist, 60_000, 10_000, (28, 28, 1), 10)
    assert fashion_mnist.classes[0] == "T-shirt/top"


def test_splits_of_tensorflow_datasets(fashion_mnist):
    with pytest.raises(ValueError, match="the split 'extra'; it has train"):
        datasets.splits("fashion_mnist+extra")
    with pytest.raises(ValueError, match="must be for image classification"):
        datasets.splits("imdb_reviews")
    labels = tfds._labels(tfds._prepared("fashion_mnist")[0], "test")
    assert np.array_equal(labels, fashion_mnist.y_test)


def test_unknown_name():
    with pytest.raises(ValueError, match="Near names: .*mnist") as error:
        datasets.load("fashion_mnst")
    assert "Received: dataset='fashion_mnst'" in str(error.value)


def test_not_available(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))

    def refuse(*args, **options):
        raise OSError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(datasets.NotAvailable, match="no network in this test"):
        datasets.load("kmnist")


def test_what_a_name_can_be_is_said():
    with pytest.raises(ValueError) as error:
        datasets.load("leaves")
    for words in ("digits", ".npz", "tensorflow-datasets"):
        assert words in str(error.value)
        assert words in datasets.load.__doc__


def test_array_files(tmp_path, digits):
    np.save(tmp_path / "images.npy", digits.x_test[:50])
    np.savez(tmp_path / "test.npz", x=digits.x_test, y=digits.y_test)
    data = datasets.load(f"{tmp_path}/images.npy")
    assert len(data.x_train) == len(data.x_test) == 50
    assert data.y_test is None and data.classes == ()
    data = datasets.load(tmp_path / "test.npz")
    assert np.array_equal(data.x_test, digits.x_test)
    assert np.array_equal(data.y_test, digits.y_test)
    assert data.input_shape == (28, 28, 1)


def test_array_files_that_are_none(tmp_path):
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    (tmp_path / "broken.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    for name, message in (
        ("missing.npz", "No such file"),
        ("other.npz", "must hold an array x. .*with z"),
        ("broken.npy", "NumPy cannot read"),
        ("empty.npy", "NumPy cannot read"),
        ("broken.npz", "NumPy cannot read"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            datasets.load(tmp_path / name)
        assert f"Received: dataset='{tmp_path / name}'" in str(error.value)


def draw(path, gray, size=(6, 5), mode="RGB"):
    """A picture of one gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, gray if mode == "L" else (gray,) * 3).save(path)


def test_a_folder_with_a_folder_for_each_class(tmp_path):
    for i in range(10):
        draw(tmp_path / "cat" / f"{i}.png", 51)
        draw(tmp_path / "dog" / f"{i}.JPG", 102)
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    data = datasets.load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.x_train.shape == (16, 5, 6, 3) and data.x_test.shape[0] == 4
    assert data.y_train.tolist() == [0] * 8 + [1] * 8
    assert data.y_test.tolist() == [0, 0, 1, 1]
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == np.float32
        np.testing.assert_allclose(x.mean((1, 2, 3)), 0.2 + 0.2 * y, atol=0.01)
    # Of one size and in gray, a few of them.
    data = datasets.load(f"{tmp_path}", (4, 3, 1), 6)
    assert data.x_train.shape == (6, 4, 3, 1)
    assert data.y_train.tolist() == [0, 0, 0, 1, 1, 1]


def test_pictures_are_upright_and_of_8_bits(tmp_path):
    half = np.zeros((4, 4), "uint16")
    half[:2] = 128 * 257
    exif = Image.Exif()
    # Its left side is the top of what it shows.
    exif[0x0112] = 5
    (tmp_path / "a").mkdir()
    for i in range(5):
        Image.fromarray(half).save(tmp_path / "a" / f"{i}.png", exif=exif)
    data = datasets.load(tmp_path)
    assert np.array_equal(data.x_test[0, :, 2:], np.zeros((4, 2, 3)))
    np.testing.assert_allclose(data.x_test[0, :, :2], 128 / 255, atol=1e-6)


def test_a_folder_with_splits_or_without_classes(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for label in "ab":
            for i in range(count):
                draw(tmp_path / "split" / split / label / f"{i}.png", 9)
    data = datasets.load(tmp_path / "split")
    assert data.classes == ("a", "b")
    assert len(data.x_train) == 6 and data.y_test.tolist() == [0, 0, 1, 1]
    for i in range(4):
        draw(tmp_path / "plain" / f"{i}.png", 9, (5 + i, 5), "L")
    data = datasets.load(tmp_path / "plain", (5, 5, 3))
    assert data.x_train.shape == (4, 5, 5, 3)
    assert data.y_train is None and data.classes == ()
    with pytest.raises(ValueError, match="several sizes need the size of a"):
        datasets.load(tmp_path / "plain")
    (tmp_path / "plain" / "broken.png").write_text("no picture")
    with pytest.raises(ValueError, match="cannot be read.*broken.png"):
        datasets.load(tmp_path / "plain", (5, 5, 3))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="one folder of pictures"):
        datasets.load(tmp_path / "nothing")


def test_a_few_images_are_from_all_over(digits):
    few = datasets.load("digits", most=100)
    assert few.x_train.shape[0] == few.x_test.shape[0] == 100
    for size, most in ((10, 10), (7, 3), (1000, 999), (1000, 30), (3, 5)):
        chosen = spread(size, most)
        assert len(chosen) == min(size, most)
        assert np.all(np.diff(chosen) > 0) and 0 <= chosen[0]
        gaps = np.diff([-1, *chosen, size])
        assert chosen[-1] < size and gaps.max() <= 2 * np.ceil(size / most) + 1
    # Labels that repeat with a period do not all fall on one class.
    assert np.bincount(spread(5000, 500) % 10, minlength=10).min() > 30


@pytest.fixture
def registry():
    """Whatever a test registers is gone after it."""
    before = dict(datasets.REGISTRY)
    yield
    datasets.REGISTRY.clear()
    datasets.REGISTRY.update(before)


def test_sources_of_the_page(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(code, PAGE.name, "exec"), names)
    # Real images, both from the digits.
    check(datasets.load("zeros_and_ones"), 312, 48, (28, 28, 1), 2)
    check(datasets.load("digits.csv"), 1438, 359, (8, 8, 1), 10)
    with pytest.raises(ValueError, match="zeros_and_ones, a .csv file or"):
        datasets.load("zeroes")


def test_the_last_source_is_asked_first(registry, digits):
    @datasets.source("digits")
    def first():
        raise AssertionError("replaced below")

    @datasets.source("digits")
    def mine():
        return digits

    assert datasets.load("digits") is digits

    @datasets.source("anything", takes=lambda name: True)
    def anything(name):
        return name

    with pytest.raises(ValueError, match="must return .*Received: str"):
        datasets.load("fashion_mnist")
