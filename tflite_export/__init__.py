"""From a Keras model to a LiteRT file: convert, check, time."""

from tflite_export.benchmark import Latency
from tflite_export.benchmark import benchmark
from tflite_export.convert import Conversion
from tflite_export.convert import convert
from tflite_export.parity import Parity
from tflite_export.parity import check_parity

__all__ = [
    "Conversion",
    "Latency",
    "Parity",
    "benchmark",
    "check_parity",
    "convert",
]
