"""Cuts a model of which hardware has only the first layers: those become a network, the rest is the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.frontends.keras import from_keras
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


def split(model: Any) -> Split:
    """Cut a Keras model before the first layer that no hardware layer can express, such as a GRU or an LSTM.

    Their products of gates and states are in no layer, so they are not taken; what comes before them runs on the chip.

    Args:
        model: a built ``keras.Model`` of one input in which everything passes through one tensor before such a layer.

    Returns:
        The network of the first layers, and a model of the others.

    Raises:
        SpicaError: where not even the first layer can be taken, and the host would do everything.
    """
    keras = load_keras()
    if not isinstance(model, keras.Model):
        raise SpicaError(f"expected a keras.Model, got {type(model).__name__}; spica.split cuts Keras models only")

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
