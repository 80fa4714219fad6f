"""Networks that quantizeml quantised, from Keras and ONNX files."""

from __future__ import annotations

from os import PathLike
from typing import BinaryIO

from spica.frontends.quantizeml.keras_file import read_keras
from spica.frontends.quantizeml.onnx_file import read_onnx
from spica.network import Network
from spica.passes import fuse

__all__ = ["from_quantizeml", "read"]


def from_quantizeml(path: str | PathLike[str] | BinaryIO) -> Network:
    """Read a model that quantizeml quantised: Keras' ``.h5`` or ``.keras``, or ``.onnx``.

    Args:
        path: the file, or one of Keras that is open: sequential or functional, with any number of inputs and outputs,
            temporal layers included.

    Returns:
        An integer ``Network``. Its ``forward`` takes the model's raw input, channels last whatever the file's order,
        and gives what the model's ``predict`` gives: de-quantised float32, a list where there are several outputs.
        Where layers hold frame buffers, the batch axis is time.

    Raises:
        SpicaError: where the file is not such a model, or a layer has no exact counterpart; it is named.
    """
    return fuse(read(path))


def read(path: str | PathLike[str] | BinaryIO) -> Network:
    """Read a model as ``from_quantizeml`` does, but keep each of the file's layers by itself, nothing fused."""
    if not hasattr(path, "read") and str(path).endswith(".onnx"):
        return read_onnx(path)
    return read_keras(path)
