"""A convolution that changes nothing, to carry what only a convolution may."""

from __future__ import annotations

import numpy as np

from spica.hardware.device.schema import Device
from spica.layers import Conv2D, Requantize, weighted
from spica.network import TensorType


def identity(name: str, source: str, x: TensorType, device: Device) -> Conv2D | None:
    """Return a 1x1 convolution that gives what it reads, in the narrowest weights that the device's rules allow.

    Args:
        name: of the convolution.
        source: the tensor that it reads.
        x: type of that tensor.
        device: the device.

    Returns:
        The layer, or None for a tensor that is no image of fixed-point integers.
    """
    if len(x.shape) != 3 or x.bits is None or (x.scale != 1).any():
        return None
    allowed = [
        bound.allowed
        for rule in device.rules
        for quantity, bound in rule.bounds.items()
        if rule.op_type == "convolution" and quantity == "weight_bits" and bound.allowed
    ]
    epilogue = Requantize(
        multiplier=np.ones((), np.int64),
        shift=weighted.input_shift(x),
        bits=x.bits,
        signed=x.signed,
        frac_bits=x.frac_bits,
    )
    return Conv2D(
        name=name,
        inputs=(source,),
        kernel=np.eye(x.channels, dtype=np.int8)[None, None],
        weight_bits=min((b for values in allowed for b in values if b > 1), default=8),
        weight_scale=np.ones((), np.float32),
        requantize=epilogue,
    )
