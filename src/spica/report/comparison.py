"""The difference between two networks, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import to_input_integers
from spica.errors import SpicaError
from spica.network import Network, TensorType
from spica.report.text import comparison_table


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """The difference of a layer of B from the layer of the same name in A, over all samples.

    Attributes:
        layer: its name in A.
        values: number of values compared.
        differ: number of values that are not equal (as integers where both formats agree, else as real numbers).
        largest: largest absolute difference of the real numbers.
        gain: factor on B's values that brings them closest to A's; for images each channel has one, and this is their
            mean. Quantising scales layers and channels to fill their grids, which changes nothing but these factors.
        sqnr_db: signal-to-quantisation-noise ratio after that gain, in decibels; A is the signal. Infinite where equal.
        cosine: cosine of the angle between the two.
    """

    layer: str
    values: int
    differ: int
    largest: float
    gain: float
    sqnr_db: float
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of ``compare``; iterating over it gives the layers, in A's order.

    Attributes:
        a, b: names of the networks.
        layers: one entry for each layer that both have.
        only_a, only_b: names of the layers without a partner.
    """

    a: str
    b: str
    layers: tuple[LayerDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """True where no value differs in any layer that both have."""
        return all(layer.differ == 0 for layer in self.layers)

    def __iter__(self) -> Iterator[LayerDifference]:
        return iter(self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; an infinite ratio is ``None``."""
        layers = [asdict(row) | {"sqnr_db": row.sqnr_db if np.isfinite(row.sqnr_db) else None} for row in self.layers]
        only = {"only_a": list(self.only_a), "only_b": list(self.only_b)}
        return {"a": self.a, "b": self.b, "equal": self.equal, "layers": layers, **only}

    def __str__(self) -> str:
        return comparison_table(self)


def compare(a: Network, b: Network, x: ArrayLike) -> Comparison:
    """Run two networks on the same samples and compare every layer that both have, by name.

    Args:
        a: the network to compare with.
        b: the network to compare; both may be float, quantised or imported.
        x: samples ``(N, ...)`` that one of them reads. A float network reads integer samples as real numbers; for an
            integer network real samples become its input's integers (``spica.to_input_integers``).

    Returns:
        The comparison; printed, it is a table.

    Raises:
        SpicaError: where the samples do not fit one of the networks, or no layer has a partner.
    """
    inputs = {layer.name for net in (a, b) for layer in net.inputs}
    names = [name for name in a.types if name in b.types and name not in inputs]
    names = [name for name in names if a.types[name].shape == b.types[name].shape]
    if not names:
        raise SpicaError(f"{a.name} and {b.name} have no layer of the same name and shape; nothing can be compared")
    first, second = (net.run(samples_for(net, x), keep=names).tensors for net in (a, b))
    return Comparison(
        a=a.name,
        b=b.name,
        layers=tuple(_difference(n, first[n], second[n], a.types[n], b.types[n]) for n in names),
        only_a=tuple(name for name in a.types if name not in inputs.union(names)),
        only_b=tuple(name for name in b.types if name not in inputs.union(names)),
    )


def samples_for(net: Network, x: ArrayLike) -> ArrayLike:
    """Return samples as ``net`` reads them: real ones as integers for an integer network."""
    real = np.asarray(x).dtype.kind == "f"
    return to_input_integers(net, x) if real and not net.types[net.inputs[0].name].is_float else x


def _difference(name: str, mine: NDArray, theirs: NDArray, kind: TensorType, other: TensorType) -> LayerDifference:
    signal, got = (k.to_float(v).astype(np.float64) for k, v in ((kind, mine), (other, theirs)))
    differ = int((mine != theirs).sum() if _same_format(kind, other) else (signal != got).sum())
    largest = float(np.abs(signal - got).max())
    got, gain = fitted(signal, got)
    total, kept, noise = (float((a * b).sum()) for a, b in ((signal, signal), (got, got), (signal - got, signal - got)))
    norms = float(np.sqrt(total * kept))
    return LayerDifference(
        layer=name,
        values=mine.size,
        differ=differ,
        largest=largest,
        gain=float(gain.mean()),
        sqnr_db=float(10 * np.log10(total / noise)) if noise and total else float("inf"),
        cosine=float((signal * got).sum()) / norms if norms else 1.0,
    )


def fitted(signal: NDArray, got: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``got`` (N, ..., C) times the factor that brings it closest to ``signal``, and that factor.

    The factor is one for each channel of images, else one for the whole tensor.
    """
    signal, got = signal.astype(np.float64), got.astype(np.float64)
    axes = tuple(range(signal.ndim - 1)) if signal.ndim == 4 else None
    power = (got * got).sum(axis=axes)
    gain = np.where(power > 0, (signal * got).sum(axis=axes) / np.where(power > 0, power, 1), 1.0)
    return got * gain, gain


def _same_format(a: TensorType, b: TensorType) -> bool:
    return (
        not a.is_float
        and str(a) == str(b)
        and np.array_equal(a.frac_bits, b.frac_bits)
        and np.array_equal(a.scale, b.scale)
    )
