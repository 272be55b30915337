"""Data: real images and labels, by a name. One file per source."""

from keras_nonconvex.datasets import digits
from keras_nonconvex.datasets import functions
from keras_nonconvex.datasets import npz
from keras_nonconvex.datasets.base import REGISTRY
from keras_nonconvex.datasets.base import Images
from keras_nonconvex.datasets.base import NotAvailable
from keras_nonconvex.datasets.base import source
from keras_nonconvex.datasets.loading import load
from keras_nonconvex.datasets.opening import splits
from keras_nonconvex.datasets.split import Data
from keras_nonconvex.datasets.split import Split

__all__ = [
    "REGISTRY",
    "Data",
    "Images",
    "NotAvailable",
    "Split",
    "digits",
    "functions",
    "load",
    "npz",
    "source",
    "splits",
]
