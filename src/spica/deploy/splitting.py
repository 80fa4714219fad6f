"""Cuts what hardware runs only in part: a network by layers, a Keras model behind the first ones."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.deploy.host_layers import host_reasons, quantize_before_host
from spica.deploy.hybrid import HybridNetwork, split_network
from spica.errors import SpicaError
from spica.frontends.keras import from_keras
from spica.hardware import Device, load_device
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


def split(
    model: Any,
    device: str | PathLike[str] | Device | None = None,
    samples: ArrayLike | None = None,
    **options: Any,
) -> Split | HybridNetwork:
    """Cut a network, or a Keras model, into what a chip runs and what is left to the host.

    Args:
        model: an integer network, of which the host gets the layers that break a rule of the device; a float network
            with layers that have no integer form, such as a GRU, an LSTM or a softmax in the middle, of which the host
            gets these and all that reads of them; or a built ``keras.Model`` of one input, which is cut before the
            first such layer. Everything must pass through one tensor before that.
        device: a device, its name in the catalogue, or the path of its file, for a network; AKD1000 by default.
        samples: for a float network, typical inputs to quantise what is before the host's layers with; what can be
            changed there exactly to suit the device is changed.
        options: for a float network, further options of ``spica.quantize``.

    Returns:
        For a network, the parts in order, as one ``HybridNetwork`` that gives the same integers, and behind them the
        real numbers of the host's layers. For a Keras model, the network of its first layers, and a model of the
        others.

    Raises:
        SpicaError: where the host would do everything, for a float network all of which can be quantised, or one
            without samples.
    """
    if isinstance(model, Network) and not model.is_integer and (reasons := host_reasons(model)):
        chip = load_device(device or "AKD1000")
        return split_network(quantize_before_host(model, reasons, chip, samples, options), chip)
    if samples is not None or options:
        given = "samples" if samples is not None else next(iter(options))
        raise SpicaError(
            f"{given} is for float networks with layers that stay on the host, which this is not; leave it out, or "
            "quantise the network with spica.quantize first"
        )
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
        return Split(_without_host(model), None, ())
    except SpicaError as error:
        reason = error
    for position in reversed(range(len(model.layers))):
        try:
            cut = model.layers[position].output
            before, after = keras.Model(model.inputs, cut, name=model.name), keras.Model(cut, model.outputs)
            network = _without_host(before)
        except (SpicaError, ValueError, AttributeError):  # the last two: nothing passes through this tensor alone
            continue
        left = {layer.name for layer in after.layers}
        return Split(network, after, tuple(layer.name for layer in model.layers if layer.name in left))
    raise SpicaError(f"{model.name}: not even its first layer can be taken, so all of it is the host's ({reason})")


def _without_host(model: Any) -> Network:
    """Take a Keras model as a float network, all of which can be quantised.

    Raises:
        SpicaError: where a layer cannot be taken, or stays on the host.
    """
    net = from_keras(model)
    for name, reason in host_reasons(net).items():
        raise SpicaError(f"{name}: {reason}")
    return net
