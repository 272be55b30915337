"""Unfolding: own layers and subclassed models as graphs of Keras layers."""

from keras_nonconvex.unfolding.unfolded import Unfolded
from keras_nonconvex.unfolding.unfolded import functional
from keras_nonconvex.unfolding.unfolded import unfold

__all__ = ["Unfolded", "functional", "unfold"]
