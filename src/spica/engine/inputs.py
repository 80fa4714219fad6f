"""Samples at the door: checked against the network's inputs, never guessed at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.network import Network, TensorType
from spica.network.graph import check_network
from spica.util.arguments import is_integer, is_masked


def as_clips(net: Network, x: Any) -> NDArray | None:
    """Return samples as clips ``(S, T, ...)``, each from rest; ``None`` if they are none, or ``net`` has no memory."""
    if len(net.inputs) != 1 or not net.stateful_layers:
        return None
    try:
        clips = np.asarray(x)
    except ValueError:  # of different lengths; check_array says so
        return None
    return clips if clips.ndim == len(net.types[net.inputs[0].name].shape) + 2 and clips.size else None


def check_frames(net: Network, kind: TensorType, x: Any) -> NDArray:
    """Check samples of the only input of ``net`` as ``check_array``; clips of a network with memory stay clips."""
    source, clips = net.inputs[0].name, as_clips(net, x)
    if clips is None:
        return check_array(source, kind, x)
    return check_array(source, kind, clips.reshape(-1, *clips.shape[2:])).reshape(clips.shape)


def is_count(value: Any) -> bool:
    """Return whether ``value`` is an integer of at least 1, of Python's or numpy's."""
    return is_integer(value) and int(value) >= 1


def check_batch_size(batch_size: int) -> None:
    """Check that ``batch_size`` is an integer of at least 1."""
    if not is_count(batch_size):
        raise SpicaError(f"batch_size is {batch_size!r}, but must be an integer of at least 1")


def check_samples(net: Network, x: Any) -> dict[str, NDArray]:
    """Return the samples of every input by name, checked against its type.

    Args:
        net: the network.
        x: an array ``(N, ...)``; a list of them where the network has several inputs.

    Raises:
        SpicaError: where their number, shape, dtype or range does not fit.
    """
    arrays = list(x) if len(net.inputs) > 1 and isinstance(x, list | tuple) else [x]
    if len(arrays) != len(net.inputs):
        names = ", ".join(layer.name for layer in net.inputs)
        raise SpicaError(f"{net.name} reads {len(net.inputs)} inputs ({names}), but {len(arrays)} were given")
    samples = {layer.name: check_array(layer.name, net.types[layer.name], a) for layer, a in zip(net.inputs, arrays)}
    if len({len(a) for a in samples.values()}) > 1:
        raise SpicaError(f"{net.name}: its inputs have different numbers of samples")
    return samples


def check_array(name: str, kind: TensorType, x: Any) -> NDArray:
    """Return ``x`` as an array ``(N, ...)`` of the type's dtype; refuse anything that would need guessing."""
    if is_masked(x):
        raise SpicaError(f"{name}: samples are masked, and the mask would be lost; fill or leave out what it hides")
    try:
        array = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise SpicaError(f"{name}: samples are not an array ({error}); give a numpy array") from None
    if array.ndim and not array.size:
        raise SpicaError(f"{name}: there are no samples in an array of shape {array.shape}; give at least one")
    if array.shape[1:] != kind.shape or array.ndim != len(kind.shape) + 1:
        raise SpicaError(_misshapen(name, kind, array))
    return _real(name, array) if kind.is_float else _integers(name, kind, array)


def _misshapen(name: str, kind: TensorType, array: NDArray) -> str:
    want, hint = ", ".join(("N", *map(str, kind.shape))), ""
    if array.shape == kind.shape:
        hint = "; add a batch axis with x[None]"
    elif array.shape[2:] == kind.shape and array.ndim == len(kind.shape) + 2:
        hint = "; of clips, which only networks with memory take, give the frames: x.reshape(-1, *x.shape[2:])"
    return f"{name}: samples have shape {array.shape}, but the network reads ({want}){hint}"


def _real(name: str, array: NDArray) -> NDArray[np.float32]:
    if array.dtype.kind not in "fiub":
        raise SpicaError(f"{name}: samples are {array.dtype}, but the network reads real numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise SpicaError(f"{name}: samples hold NaN or infinity; clean the data")
    return array


def _integers(name: str, kind: TensorType, array: NDArray) -> NDArray:
    dtype, (low, high) = kind.dtype, kind.range
    if array.dtype.kind not in "iu":
        raise SpicaError(
            f"{name}: samples are {array.dtype}, but an integer network reads {dtype}; "
            "convert them with spica.to_input_integers(net, x)"
        )
    fits = array.dtype == dtype and dtype.itemsize * 8 == kind.bits
    if not fits and (array.min() < low or array.max() > high):
        raise SpicaError(
            f"{name}: samples reach from {array.min()} to {array.max()}, but the network reads "
            f"{kind.bits}-bit integers from {low} to {high}"
        )
    return array.astype(dtype, copy=False)


def to_input_integers(net: Network, x: ArrayLike) -> NDArray:
    """Turn real samples, as the float network saw them, into the integers that an integer network reads.

    Args:
        net: an integer network with one input.
        x: samples ``(N, ...)`` of real numbers; clips where the network has memory.

    Returns:
        ``round(x / scale)``, saturated to the input's bits, in its dtype.
    """
    check_network(net)
    kind = net.types[net.inputs[0].name]
    return kind.from_float(check_frames(net, TensorType(kind.shape), x))
