"""An integer network as a ``keras.Model`` that trains."""

from __future__ import annotations

from typing import Any

import numpy as np

import keras
from keras import ops
from spica.engine.inputs import check_frames
from spica.errors import SpicaError
from spica.layers.weighted import weighted_layers
from spica.network import Network
from spica.network.layer import forward_integer, forward_stateful, initial_state
from spica.qat.differentiable import Differentiable
from spica.qat.exact import Exact
from spica.qat.latent_weights import LatentWeights
from spica.qat.parameters import Parameters


class Trainable(keras.Model):
    """A model that reads the integers of a network and gives its outputs (float32); clips, where it keeps a state.

    In training its arithmetic has gradients; otherwise its outputs are those of the network that ``spica.convert``
    makes of it, to the bit. One sub-layer for each layer with weights holds the parameters under the layer's name.
    """

    def __init__(self, network: Network, latent: dict[str, LatentWeights], sparsity: float) -> None:
        super().__init__(name=network.name.replace("/", "_"))
        _check(network)
        self.network, self.sparsity = network, float(sparsity)
        self.parameters_of = {
            layer.name: Parameters(layer, network.types[layer.name], latent.get(layer.name, {}))
            for layer in weighted_layers(network)
        }
        self.shares = _shares(network)
        self.over_time = bool(network.stateful_layers)
        self.built = True

    def call(self, x: Any, training: bool | None = False) -> Any:
        """Run a batch, with gradients in training and exactly otherwise."""
        reads = self.network.types[self.network.inputs[0].name].shape
        if tuple(x.shape[1 + self.over_time :]) != reads or len(x.shape) != len(reads) + 1 + self.over_time:
            axes = ", ".join(map(str, ("S", "T", *reads) if self.over_time else ("N", *reads)))
            raise SpicaError(f"{self.network.name}: is trained on ({axes}), but is given {tuple(x.shape)}")
        if "float" in keras.backend.standardize_dtype(x.dtype):
            raise SpicaError(
                f"{self.network.name}: is trained on the integers that the network reads, but is given {x.dtype}; "
                "convert samples with spica.to_input_integers(net, x)"
            )
        net, length = self.network, x.shape[1] if self.over_time else 1
        run: Any = Differentiable(length) if training else Exact(length)
        if self.over_time:
            x = ops.reshape(x, (-1, *x.shape[2:]))
        values: dict[str, Any] = {}
        for layer in net:
            run.layer = layer.name
            if not layer.inputs:
                values[layer.name] = run.input(x, net.types[layer.name])
                continue
            if (parameters := self.parameters_of.get(layer.name)) is not None:
                layer = parameters.smooth() if training else parameters.exact()
            read = [values[name] for name in layer.inputs]
            kinds = net.input_types(layer)
            rest = initial_state(layer, kinds)
            if rest:
                values[layer.name], _ = forward_stateful(layer, read, kinds, run, rest)
            else:
                values[layer.name] = forward_integer(layer, read, kinds, run)
        if training and self.sparsity and run.activities:
            self.add_loss(self.sparsity * sum(self.shares[n] * ops.mean(a) for n, a in run.activities))
        made = [values[name] for name in net.outputs]
        floats = [v if net.types[n].is_float else run.to_float(v, net.types[n]) for n, v in zip(net.outputs, made)]
        tensors = [value.tensor for value in floats]
        if self.over_time:
            tensors = [ops.reshape(t, (-1, length, *t.shape[1:])) for t in tensors]
        return tensors[0] if len(tensors) == 1 else tensors

    def fit(self, x: Any = None, *rest: Any, **options: Any) -> Any:
        """Train as ``keras.Model.fit``, on samples that the network reads."""
        return super().fit(self._checked(x), *rest, **options)

    def evaluate(self, x: Any = None, *rest: Any, **options: Any) -> Any:
        """Evaluate as ``keras.Model.evaluate``."""
        return super().evaluate(self._checked(x), *rest, **options)

    def predict(self, x: Any, *rest: Any, **options: Any) -> Any:
        """Predict as ``keras.Model.predict``."""
        return super().predict(self._checked(x), *rest, **options)

    def _checked(self, x: Any) -> Any:
        """Check that an array holds integers that the network reads; what feeds samples otherwise is left alone."""
        source = self.network.inputs[0].name
        return check_frames(self.network, self.network.types[source], x) if isinstance(x, np.ndarray) else x

    def integer(self) -> Network:
        """Return the network of the integers of now."""
        trained = {name: parameters.integer() for name, parameters in self.parameters_of.items()}
        return self.network.with_layers(trained.get(layer.name, layer) for layer in self.network)


def _check(network: Network) -> None:
    """Check that a network can be trained: integers, one input."""
    for layer in network.inputs:
        if network.types[layer.name].is_float:
            raise SpicaError(f"{network.name}: only an integer network can be made trainable; quantize it first")
    if len(network.inputs) != 1:
        raise SpicaError(f"{network.name}: has {len(network.inputs)} inputs; training takes networks with one")


def _shares(network: Network) -> dict[str, float]:
    """Return each tensor's share of the synapse operations that are done if every value is an event."""
    work = {layer.name: sum(network.macs(reader) for reader in network.consumers[layer.name]) for layer in network}
    total = sum(work.values()) or 1.0
    return {name: done / total for name, done in work.items()}
