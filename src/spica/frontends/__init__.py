"""Other frameworks' networks to Spica's. Each module loads its framework only when its function is called."""

from spica.frontends.files import from_file
from spica.frontends.keras import from_keras
from spica.frontends.onnx import from_onnx
from spica.frontends.quantizeml import from_quantizeml
from spica.frontends.tfjs import from_tfjs
from spica.frontends.tflite import from_tflite
from spica.frontends.torch import from_torch

__all__ = ["from_file", "from_keras", "from_onnx", "from_quantizeml", "from_tfjs", "from_tflite", "from_torch"]
