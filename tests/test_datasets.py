"""Real data, and one clear sentence where there is none."""

import numpy as np
import pytest

from keras_nonconvex import datasets


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


def test_fashion_mnist(fashion_mnist):
    check(fashion_mnist, 60_000, 10_000, (28, 28, 1), 10)
    assert fashion_mnist.classes[0] == "T-shirt/top"


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
