"""Grouped convolution: each group of filters reads its own group of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.convolution import Conv2D
from spica.layers.weighted import WindowedLayer
from spica.network.layer import Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics.primitives import Epilogue


@record
class GroupedConv2D(WindowedLayer):
    """Convolution of an image with ``kernel`` (kh, kw, C / groups, F), in ``groups`` of as many channels and filters.

    Devices have no groups: they hold it as a full convolution, with zeros between the groups (``weighted.lowered``).
    """

    kernel: NDArray
    groups: int

    @property
    def parts(self) -> list[tuple[range, slice]]:
        """Channels and filters of each group."""
        channels, filters = self.kernel.shape[2], self.kernel.shape[3] // self.groups
        return [
            (range(g * channels, (g + 1) * channels), slice(g * filters, (g + 1) * filters)) for g in range(self.groups)
        ]


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
    return {"kernel": np.repeat(channels.T, layer.kernel.shape[3] // layer.groups, axis=1)}


@infer.register
def _(layer: GroupedConv2D, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    weighted.check_kernel(layer, layer.kernel, 4)
    channels, filters = layer.kernel.shape[2:]
    if layer.groups < 1 or filters % layer.groups or channels * layer.groups != x.channels:
        raise SpicaError(
            f"{layer.name}: {filters} filters in {layer.groups} groups of {channels} channels do not fit the "
            f"{x.channels} channels of {layer.inputs[0]!r}"
        )
    shape = (*weighted.convolved_shape(layer, x, layer.window, layer.strides, layer.padding), filters)
    return weighted.output_type(layer, x, shape, x.frac_bits.max(), weighted.accumulator_scale(layer, x))


@forward_float.register
def _(layer: GroupedConv2D, inputs: Sequence[NDArray]) -> NDArray:
    return forward_float(weighted.lowered(layer), inputs)


@forward_integer.register
def _(layer: GroupedConv2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    output, padding = infer(layer, types), weighted.padding_of(layer, layer.kernel, x)
    (reads,) = weighted.kernel_channels(layer).values()
    x, kernel, peak = weighted.align(x, layer.kernel, kind, layer.accumulator_bits, ops, reads)
    made, fill = [], np.zeros(kernel.shape[2], np.int64)
    for channels, filters in layer.parts:
        own = kernel[..., filters]
        acc = ops.convolve(ops.take(x, 2, channels), own, layer.strides, padding, fill, weighted.bound(peak, own))
        epilogue = weighted.epilogue_of(layer, (*acc.shape[:-1], kernel.shape[-1]), output)
        made.append(ops.apply_epilogue(acc, _part(epilogue, filters)))
    return ops.concatenate(made, output.dtype)


def _part(epilogue: Epilogue, filters: slice) -> Epilogue:
    """Return the epilogue of some of its filters."""
    fields = {name: getattr(epilogue, name) for name in ("bias", "ceiling", "multiplier", "shift")}
    return replace(epilogue, **{name: a[filters] for name, a in fields.items() if a is not None and a.ndim})
