"""Data: real images and labels, by a name. One file per source."""

from keras_nonconvex.datasets import digits
from keras_nonconvex.datasets import npz
from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import NotAvailable
from keras_nonconvex.datasets.base import source
from keras_nonconvex.datasets.loading import load

__all__ = [
    "REGISTRY",
    "Images",
    "NotAvailable",
    "digits",
    "load",
    "npz",
    "source",
]
