"""The names that arguments may take, known before TensorFlow starts."""

import importlib.util
import pathlib
import sys


class Choices:
    """What ships, and what else a user's module has registered since.

    Args:
        *shipped: The names that ship. A test compares them with what the
            packages themselves know.
        registered: A function that imports the packages and returns all names
            that they know. It is asked about names that do not ship.
    """

    def __init__(self, *shipped, registered):
        self.shipped = shipped
        self.registered = registered

    def __contains__(self, name):
        return name in self.shipped or name in self.registered()

    def __iter__(self):
        # Nothing can be registered before the package is imported.
        started = "keras_nonconvex" in sys.modules
        return iter(self.registered() if started else self.shipped)


def _criteria():
    """The criteria that rank channels by the weights of a file alone."""
    from keras_nonconvex.pruning import criteria

    return [name for name in criteria.REGISTRY if not criteria.needs_data(name)]


def _precisions():
    from tflite_export.precisions import PRECISIONS

    return list(PRECISIONS)


def _calibrated():
    from tflite_export.precisions import PRECISIONS

    return [name for name, known in PRECISIONS.items() if known.calibrated]


def _strategies():
    from keras_nonconvex.compression.distribution import STRATEGIES

    return STRATEGIES


def _policies():
    from keras_nonconvex.compression.keys import POLICIES

    return POLICIES


def _recipes():
    """The names of the recipes that ship, from the files alone."""
    package = importlib.util.find_spec("keras_nonconvex").origin
    folder = pathlib.Path(package).parent / "compression" / "recipes"
    return sorted(path.stem for path in folder.glob("*.json"))


CRITERIA = Choices(
    "group_norm",
    "bn_scale",
    "bn_importance",
    "geometric_median",
    "random",
    registered=_criteria,
)
PRECISIONS = Choices(
    "float32",
    "float16",
    "dynamic",
    "int8",
    "int16x8",
    registered=_precisions,
)
CALIBRATED = Choices("int8", "int16x8", registered=_calibrated)
STRATEGIES = Choices("mirrored", "multi-worker", registered=_strategies)
POLICIES = Choices("mixed_float16", "mixed_bfloat16", registered=_policies)
RECIPES = _recipes()

# What --data takes.
DATA = (
    "images in [0, 1] or uint8: the name of a data set, a folder with one "
    "folder of pictures for each class, a file .npy (images) or .npz (x and, "
    "with labels, y), or a Python function module:function that returns them"
)
