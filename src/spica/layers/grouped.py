"""Grouped convolution: each group of filters reads its own group of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.convolution import Conv2D
from spica.layers.weighted import WindowedLayer
from spica.network.fields import Size, Weights
from spica.network.layer import Ops, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics.primitives import Epilogue


@record
class GroupedConv2D(WindowedLayer):
    """Convolution of an image with ``kernel`` (kh, kw, C / groups, F), in ``groups`` of as many channels and filters.

    Devices have no groups: they hold it as a full convolution, with zeros between the groups (``weighted.lowered``).
    """

    KERNELS: ClassVar = {"kernel": "hwCF"}

    kernel: Weights
    groups: Size

    @property
    def parts(self) -> list[tuple[range, slice]]:
        """Channels and filters of each group."""
        channels, filters = self.kernel.shape[2], self.filters // self.groups
        return [
            (range(g * channels, (g + 1) * channels), slice(g * filters, (g + 1) * filters)) for g in range(self.groups)
        ]

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Check the groups, and return the shape as for any window."""
        channels = self.kernel.shape[2]
        if self.groups < 1 or self.filters % self.groups or channels * self.groups != x.channels:
            raise SpicaError(
                f"{self.name}: {self.filters} filters in {self.groups} groups of {channels} channels do not fit the "
                f"{x.channels} channels of {self.inputs[0]!r}"
            )
        return super().accumulator_shape(x)

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the accumulators of the full convolution."""
        return weighted.lowered(self).accumulate_float(x)


@weighted.lowered.register
def _(layer: GroupedConv2D) -> Conv2D:
    kh, kw, channels, filters = layer.kernel.shape
    kernel = np.zeros((kh, kw, channels * layer.groups, filters), layer.kernel.dtype)
    for read, own in layer.parts:
        kernel[:, :, read.start : read.stop, own] = layer.kernel[..., own]
    return Conv2D(**{name: value for name, value in vars(layer).items() if name != "groups"} | {"kernel": kernel})


@weighted.kernel_channels.register
def _(layer: GroupedConv2D) -> weighted.Channels:
    channels = np.arange(layer.kernel.shape[2] * layer.groups).reshape(layer.groups, -1)
    return {"kernel": np.repeat(channels.T, layer.filters // layer.groups, axis=1)}


@forward_integer.register
def _(layer: GroupedConv2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    """Take each group through its own part of the epilogue, then join them."""
    output, padding = infer(layer, types), layer.padding_for(*types[0].shape[:2])
    x, kernel, peak = weighted.align(layer, inputs[0], layer.kernel, types[0], ops)
    made = []
    for channels, filters in layer.parts:
        acc = weighted.convolve(ops.take(x, 2, channels), kernel[..., filters], peak, ops, layer.strides, padding)
        epilogue = weighted.epilogue_of(layer, (*acc.shape[:-1], layer.filters), output)
        made.append(ops.apply_epilogue(acc, _part(epilogue, filters)))
    return ops.concatenate(made, output.dtype)


def _part(epilogue: Epilogue, filters: slice) -> Epilogue:
    """Return the epilogue of some of its filters."""
    fields = {name: getattr(epilogue, name) for name in ("bias", "ceiling", "multiplier", "shift")}
    return replace(epilogue, **{name: a[filters] for name, a in fields.items() if a is not None and a.ndim})
