"""Model files of any kind, told apart by what they are, not by their names alone."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from spica.errors import SpicaError
from spica.frontends.keras import from_keras
from spica.frontends.keras.file import is_quantized
from spica.frontends.onnx import from_onnx
from spica.frontends.onnx.graph import uses_domain
from spica.frontends.quantizeml import from_quantizeml
from spica.frontends.quantizeml.onnx_file import DOMAIN
from spica.frontends.tfjs import from_tfjs
from spica.frontends.tflite import from_tflite
from spica.network import Network
from spica.network.file import load


def from_file(path: str | PathLike[str]) -> Network:
    """Take a model file as a network: float, or integer where Spica or quantizeml has quantised it.

    Args:
        path: a ``.spica`` file; a ``.keras`` or ``.h5`` file of Keras 2, Keras 3 or quantizeml; or an ``.onnx`` file,
            float, of integers, or of quantizeml; a ``.tflite`` file; or a ``model.json`` of TensorFlow.js.

    Raises:
        SpicaError: where the file is of no such kind, is damaged, or holds what cannot be taken; it is named.
    """
    match Path(path).suffix.lower():
        case ".onnx":
            return from_quantizeml(path) if uses_domain(path, DOMAIN) else from_onnx(path)
        case ".keras" | ".h5" | ".hdf5":
            return from_quantizeml(path) if is_quantized(path) else from_keras(path)
        case ".tflite":
            return from_tflite(path)
        case ".json":
            return from_tfjs(path)
        case ".pt" | ".pth" | ".pt2":
            raise SpicaError(
                f"{path}: a file of PyTorch can hold code; load it yourself and give the module to spica.from_torch, "
                "or export it with torch.onnx.export"
            )
    return load(path)
