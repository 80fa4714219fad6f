"""Cuts what hardware runs only in part: a network by layers, a Keras model behind the first ones."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.deploy.hybrid import HybridNetwork, split_network
from spica.errors import SpicaError
from spica.frontends.keras import from_keras
from spica.hardware import Device
from spica.network import Network
from spica.util.keras_backend import load_keras


@dataclass(frozen=True)
class Split:
    """A model cut in two: a network for the chip, and layers for the host.

    Attributes:
        network: a float network of the first layers, to be quantised and mapped as any other.
        host: a ``keras.Model`` of the others, where there are any.
        on_host: their names, in order.
    """

    network: Network
    host: Any
    on_host: tuple[str, ...]

    def finish(self, outputs: ArrayLike) -> NDArray[np.float32]:
        """Run the host's layers on the network's outputs, or on those of a network made from it.

        Args:
            outputs: what ``forward`` gives for a batch: ``(N, ...)``, or clips ``(N, T, ...)`` of a network with state.

        Returns:
            What the whole model would give, float32.

        Raises:
            SpicaError: where the outputs have not the shape that the host reads.
        """
        from keras import ops

        values = np.asarray(outputs, np.float32)
        if self.host is None:
            return values
        # Frames of clips become clips again; of a clip, any number of frames.
        shape = [size or -1 for size in self.host.input_shape]
        if self.network.stateful_layers:
            shape[:2] = values.shape[:2]
        try:
            values = values.reshape(shape)
        except ValueError:
            raise SpicaError(f"outputs of shape {values.shape} are not what the host reads, {tuple(shape)}") from None
        return np.asarray(ops.convert_to_numpy(self.host.predict(values, verbose=0)))


def split(model: Any, device: str | PathLike[str] | Device | None = None) -> Split | HybridNetwork:
    """Cut a network, or a Keras model, into what a chip runs and what is left to the host.

    Args:
        model: an integer network, of which the host gets the layers that break a rule of the device; or a built
            ``keras.Model`` of one input, which is cut before the first layer that no hardware layer can express, such
            as a GRU or an LSTM (their products of gates and states are in no layer). Everything must pass through one
            tensor before that.
        device: a device, its name in the catalogue, or the path of its file, for a network; AKD1000 by default.

    Returns:
        For a network, the parts in order, as one ``HybridNetwork`` that gives the same integers. For a Keras model, the
        network of its first layers, and a model of the others.

    Raises:
        SpicaError: where the host would do everything, or for a float network.
    """
    if isinstance(model, Network):
        return split_network(model, device or "AKD1000")
    if device is not None:
        raise SpicaError(
            f"device is {device!r:.40}, which is for networks; a Keras model is cut before it has integers"
        )
    return _split_keras(model)


def _split_keras(model: Any) -> Split:
    keras = load_keras()
    if not isinstance(model, keras.Model):
        raise SpicaError(f"expected a Network or a keras.Model, got {type(model).__name__}")

    try:
        return Split(from_keras(model), None, ())
    except SpicaError as error:
        reason = error
    for position in reversed(range(len(model.layers))):
        try:
            cut = model.layers[position].output
            before, after = keras.Model(model.inputs, cut, name=model.name), keras.Model(cut, model.outputs)
            network = from_keras(before)
        except (SpicaError, ValueError, AttributeError):  # the last two: nothing passes through this tensor alone
            continue
        left = {layer.name for layer in after.layers}
        return Split(network, after, tuple(layer.name for layer in model.layers if layer.name in left))
    raise SpicaError(f"{model.name}: not even its first layer can be taken, so all of it is the host's ({reason})")
