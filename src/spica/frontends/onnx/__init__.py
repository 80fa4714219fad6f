"""Float ONNX models in: ``graph`` follows a model; the other files say how ONNX spells each operation."""

from spica.frontends.onnx.graph import from_onnx

__all__ = ["from_onnx"]
