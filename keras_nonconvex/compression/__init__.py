"""Compression: the main job, from data to LiteRT files and a report.

`run` goes through the stages of a recipe. `trainer` trains, `litert` exports,
`report` draws the page, and `state` keeps what an interrupted run needs.
"""

from keras_nonconvex.compression.recipe import Recipe
from keras_nonconvex.compression.run import Result
from keras_nonconvex.compression.run import compress

__all__ = ["Recipe", "Result", "compress"]
