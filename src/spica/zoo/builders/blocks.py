"""Building float networks layer by layer, with seeded random weights: kernels are He-normal, biases zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, Dense, DepthwiseConv2D, GlobalAverage, Input, ReLU, SeparableConv2D
from spica.network import Layer, Network
from spica.network.layer import infer


class Stack:
    """A network that grows: each layer reads the one before it, unless a source is named.

    Convolutions have "same" padding; all layers with weights are rectified unless ``relu`` is false.
    """

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.layers: list[Layer] = [Input(name="input", shape=shape)]
        self._types = {"input": infer(self.layers[0], [])}
        self._random = np.random.default_rng(seed)

    @property
    def last(self) -> str:
        """Name of the last layer."""
        return self.layers[-1].name

    def add(self, layer: Layer) -> None:
        """Add any layer."""
        self._types[layer.name] = infer(layer, [self._types[i] for i in layer.inputs])
        self.layers.append(layer)

    def conv(
        self,
        name: str,
        filters: int,
        size: tuple[int, int] = (3, 3),
        stride: int = 1,
        *,
        source: str | None = None,
        relu: bool = True,
        pool: GlobalAverage | None = None,
    ) -> None:
        """Add a convolution."""
        source = source or self.last
        kernel = self._kernel(*size, self._types[source].channels, filters)
        self.add(Conv2D(strides=(stride, stride), pool=pool, **_weighted(name, source, kernel, relu)))

    def depthwise(self, name: str, stride: int = 1) -> None:
        """Add a depthwise 3x3 convolution."""
        kernel = self._kernel(3, 3, self._types[self.last].channels, fan_in=9)
        self.add(DepthwiseConv2D(strides=(stride, stride), **_weighted(name, self.last, kernel)))

    def separable(self, name: str, filters: int, stride: int, pool: GlobalAverage | None) -> None:
        """Add a separable 3x3 convolution."""
        channels = self._types[self.last].channels
        over, mixing = self._kernel(3, 3, channels, fan_in=9), self._kernel(channels, filters)
        fields = _weighted(name, self.last, mixing)
        self.add(SeparableConv2D(depthwise_kernel=over, strides=(stride, stride), pool=pool, **fields))

    def dense(self, name: str, units: int, *, relu: bool = True) -> None:
        """Add a dense layer."""
        self.add(Dense(**_weighted(name, self.last, self._kernel(self._types[self.last].channels, units), relu)))

    def network(self, name: str) -> Network:
        """Return the network so far; its last layer is the output."""
        return Network(tuple(self.layers), (self.last,), name)

    def _kernel(self, *shape: int, fan_in: int | None = None) -> NDArray[np.float32]:
        """Return normal weights of variance ``2 / fan_in``; the last axis counts filters unless ``fan_in`` is given."""
        variance = 2 / (fan_in or math.prod(shape[:-1]))
        return self._random.standard_normal(shape, np.float32) * np.float32(math.sqrt(variance))


def _weighted(name: str, source: str, kernel: NDArray[np.float32], relu: bool = True) -> dict[str, Any]:
    """Return the fields that all layers with weights have."""
    after = {"bias": np.zeros(kernel.shape[-1], np.float32), "activation": ReLU() if relu else None}
    return {"name": name, "inputs": (source,), "kernel": kernel, **after}
