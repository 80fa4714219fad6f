"""Two networks side by side: how far each layer of one is from the same layer of the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import to_input_integers
from spica.errors import SpicaError
from spica.network import Network, TensorType
from spica.util.table import table


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """How far a layer of B is from the layer of the same name in A, over all samples.

    Attributes:
        layer: its name in A.
        values: values compared.
        differ: values that are not equal (as integers where both formats agree, else as real numbers).
        largest: largest absolute difference of the real numbers.
        gain: factor on B's values that brings them closest to A's, the mean over an image's channels, each of which has
            one. Quantising scales layers and channels to fill their grids, which changes nothing but these factors.
        sqnr_db: signal-to-quantisation-noise ratio after that gain, in decibels; A is the signal. Infinite where equal.
        cosine: cosine of the angle between both.
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
    """What ``compare`` found. Iterating over it gives the layers, in A's order.

    Attributes:
        a, b: the networks' names.
        layers: one entry for each layer that both have.
        only_a, only_b: layers without a partner.
    """

    a: str
    b: str
    layers: tuple[LayerDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether no value differs in any layer that both have."""
        return all(layer.differ == 0 for layer in self.layers)

    def __iter__(self) -> Iterator[LayerDifference]:
        return iter(self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; an infinite ratio is ``None``."""
        layers = [asdict(row) for row in self.layers]
        for row in layers:
            row["sqnr_db"] = row["sqnr_db"] if np.isfinite(row["sqnr_db"]) else None
        return {"a": self.a, "b": self.b, "equal": self.equal, "layers": layers, "only_a": list(self.only_a),
                "only_b": list(self.only_b)}  # fmt: skip

    def __str__(self) -> str:
        rows = [("layer", "values", "differ", "largest", "gain", "SQNR dB", "cosine")]
        rows += [
            (r.layer, f"{r.values:,}", f"{r.differ:,}", f"{r.largest:.3g}", f"{r.gain:.4f}", f"{r.sqnr_db:.1f}",
             f"{r.cosine:.6f}")
            for r in self.layers
        ]  # fmt: skip
        lines = [f"{self.a} and {self.b}: {'equal' if self.equal else 'different'}", table(rows, left=1)]
        lines += [
            f"only in {name}: {', '.join(layers)}"
            for name, layers in ((self.a, self.only_a), (self.b, self.only_b))
            if layers
        ]
        return "\n".join(lines)


def compare(a: Network, b: Network, x: ArrayLike) -> Comparison:
    """Run two networks on the same samples and compare every layer that both have, by name.

    Args:
        a: the network to compare with.
        b: the network to compare; float, quantised or imported, as ``a``.
        x: samples ``(N, ...)`` that one of them reads. A float network reads integer samples as real numbers; an
            integer network has real samples brought to its input's integers (``spica.to_input_integers``).

    Raises:
        SpicaError: where the samples fit one of the networks not at all, or no layer has a partner.
    """
    inputs = {layer.name for net in (a, b) for layer in net.inputs}
    names = [layer.name for layer in a if layer.name in b.types and layer.name not in inputs]
    names = [name for name in names if a.types[name].shape == b.types[name].shape]
    if not names:
        raise SpicaError(f"{a.name} and {b.name} have no layer of the same name and shape; nothing can be compared")
    first, second = (net.run(samples_for(net, x), keep=names).tensors for net in (a, b))
    return Comparison(
        a=a.name,
        b=b.name,
        layers=tuple(_difference(n, first[n], second[n], a.types[n], b.types[n]) for n in names),
        only_a=tuple(layer.name for layer in a if layer.name not in names and layer.name not in inputs),
        only_b=tuple(layer.name for layer in b if layer.name not in names and layer.name not in inputs),
    )


def samples_for(net: Network, x: ArrayLike) -> ArrayLike:
    """Samples as ``net`` reads them: real ones brought to the integers of an integer network."""
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
    """``got`` (N, ..., C) times the factor (one a channel for images) that brings it closest to ``signal``; and it."""
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
