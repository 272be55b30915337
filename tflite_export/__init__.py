"""From a Keras model to a LiteRT file: convert, check, time.

With this package imported, `knc.prune` knows the budgets "size" and
"latency".
"""

from tflite_export import measures
from tflite_export import metadata
from tflite_export import precisions
from tflite_export.conversion import Conversion
from tflite_export.conversion import convert
from tflite_export.drift import LayerDrift
from tflite_export.drift import compare_layers
from tflite_export.metadata import Metadata
from tflite_export.parity import Parity
from tflite_export.parity import check_parity
from tflite_export.precisions import Limits
from tflite_export.precisions import Precision
from tflite_export.profiling import OpTime
from tflite_export.profiling import ProfilingNotAvailable
from tflite_export.profiling import profile
from tflite_export.rounding import Rounding
from tflite_export.rounding import tune_round_to
from tflite_export.timing import Latency
from tflite_export.timing import benchmark

__all__ = [
    "Conversion",
    "Latency",
    "LayerDrift",
    "Limits",
    "Metadata",
    "OpTime",
    "Parity",
    "Precision",
    "ProfilingNotAvailable",
    "Rounding",
    "benchmark",
    "check_parity",
    "compare_layers",
    "convert",
    "measures",
    "metadata",
    "precisions",
    "profile",
    "tune_round_to",
]
