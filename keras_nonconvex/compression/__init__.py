"""Compression: the main job, from data to LiteRT files and a report."""

from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.compression.run import Result
from keras_nonconvex.compression.run import compress

__all__ = ["Recipe", "Result", "compress"]
