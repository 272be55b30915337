"""Compression: the main job, from data to LiteRT files and a report.

`run` goes through the steps of the `stages`, `steps` does each of them once,
`records` keeps what they measured, and `report` draws the page.
"""

from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.compression.run import Result
from keras_nonconvex.compression.run import compress

__all__ = ["Recipe", "Result", "compress"]
