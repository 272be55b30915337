"""Layers as linear maps, by their kind."""

from keras_nonconvex.pruning.refitting.patches import dense
from keras_nonconvex.pruning.refitting.patches import windows
from keras_nonconvex.pruning.refitting.patches.base import Patches
from keras_nonconvex.pruning.refitting.patches.base import array
from keras_nonconvex.pruning.refitting.patches.base import at
from keras_nonconvex.pruning.refitting.patches.base import find

__all__ = ["Patches", "array", "at", "dense", "find", "windows"]
