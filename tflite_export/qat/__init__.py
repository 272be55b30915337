"""Quantization-aware training of a (pruned) Keras 3 model, to a LiteRT file.

Needs `pip install 'keras-nonconvex[qat]'`: tensorflow-model-optimization and
tf_keras, which run in a process of their own.
"""

from tflite_export.qat.training import Trained
from tflite_export.qat.training import check_installed
from tflite_export.qat.training import check_model
from tflite_export.qat.training import train

__all__ = ["Trained", "check_installed", "check_model", "train"]
