"""Keras models in, live or from files: ``model`` follows one; ``operations`` says how Keras spells each layer."""

from spica.frontends.keras.model import from_keras

__all__ = ["from_keras"]
