"""TensorFlow.js models in: ``file`` reads one, ``graph`` follows one of operations, Keras' front end one of layers."""

from spica.frontends.tfjs.model import from_tfjs

__all__ = ["from_tfjs"]
