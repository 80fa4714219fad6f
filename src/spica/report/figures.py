"""Results as figures, with matplotlib: ``draw_*`` draw on given axes, the others return a figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError, printable
from spica.hardware import Exploration, MappedNetwork, Statistics
from spica.layers import LearningDense
from spica.report.analysis import Analysis
from spica.report.comparison import Comparison
from spica.util.files import write_atomically

SPIKE = "#d97706"
INK = "#1f2937"
QUIET = "#cbd5e1"


def load_pyplot() -> Any:
    """Import matplotlib without a window, set the house's colours, and return its ``Figure``."""
    try:
        import matplotlib
    except ImportError:
        raise SpicaError("pictures need matplotlib; run: pip install 'spica[report]'") from None
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"font.size": 9, "svg.fonttype": "none", "axes.edgecolor": QUIET}
    style |= dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK)
    matplotlib.rcParams.update(style | {"axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False})
    return Figure


def draw_accuracy(axes: Any, accuracies: dict[str, float]) -> None:
    """Draw accuracies as bars that start where the differences show."""
    names, values = list(accuracies), [100 * v for v in accuracies.values()]
    lowest = min(values)
    floor = max(0.0, lowest - max(1.0, 1.5 * (max(values) - lowest)))
    bars = axes.barh(names, values, color=[QUIET] * (len(names) - 1) + [SPIKE])
    axes.bar_label(bars, labels=[f"{v:.2f} %" for v in values], padding=-44)
    axes.set_xlim(floor, min(100.0, max(values) + 0.2))
    axes.invert_yaxis()
    axes.set_title("Accuracy on held-out digits")


def draw_samples(axes: Any, images: NDArray, labels: NDArray, predicted: NDArray, columns: int = 12) -> None:
    """Draw the first images that the chip got right, then those it got wrong, each with its answer."""
    wrong = np.flatnonzero(labels != predicted)[:columns]
    right = np.flatnonzero(labels == predicted)[: 2 * columns - len(wrong)]
    shown = np.concatenate([right, wrong])
    height, width = images.shape[1:3]
    canvas = np.zeros((2 * (height + 8), columns * width))
    for place, index in enumerate(shown):
        row, column = divmod(place, columns)
        top, left = row * (height + 8), column * width
        canvas[top : top + height, left : left + width] = images[index, :, :, 0]
        colour = INK if labels[index] == predicted[index] else "#dc2626"
        axes.text(left + width / 2, top + height + 6, str(predicted[index]), ha="center", color=colour, weight="bold")
    axes.imshow(canvas, cmap="gray_r")
    axes.axis("off")
    axes.set_title("What the chip reads (mistakes in red)")


def draw_confusion(axes: Any, labels: NDArray, predicted: NDArray) -> None:
    """Draw how often each digit was taken for each other one."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    axes.imshow(np.log1p(counts), cmap="Oranges")
    for truth, guess in zip(*np.nonzero(counts)):
        colour = "white" if truth == guess else INK
        axes.text(guess, truth, counts[truth, guess], ha="center", va="center", color=colour, fontsize=7)
    axes.set(xticks=range(10), yticks=range(10), xlabel="chip says", ylabel="digit is", title="Confusion")


def draw_layers(axes: Any, statistics: Statistics) -> None:
    """Draw the sparsity of each layer's input, and its share of the modelled energy."""
    layers = statistics.layers
    place = np.arange(len(layers))
    energy = np.array([c.energy_uj for c in layers])
    axes.barh(place - 0.2, [100 * c.sparsity for c in layers], 0.4, color=QUIET, label="zeros among inputs (counted)")
    axes.barh(place + 0.2, 100 * energy / energy.sum(), 0.4, color=SPIKE, label="share of dynamic energy (modelled)")
    axes.set(yticks=place, yticklabels=[c.layer for c in layers], xlim=(0, 100), xlabel="%", title="Layer by layer")
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=7, loc="lower right")


def draw_mesh(axes: Any, chip: MappedNetwork) -> None:
    """Draw the first device's mesh in the first pass, its processors coloured by the layer they hold."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    device = chip.device
    nodes = [divmod(node, device.mesh_columns) for node in range(device.nodes)]
    for row, column in nodes:
        axes.add_patch(Rectangle((column + 0.05, row + 0.05), 0.9, 0.9, fill=False, ec=QUIET))
    side = int(np.ceil(np.sqrt(device.nps_per_node)))
    size = 0.8 / side

    def square(row: int, column: int, slot: int, colour: Any, label: str | None = None) -> None:
        corner = column + 0.12 + slot % side * size, row + 0.12 + slot // side * size
        axes.add_patch(Rectangle(corner, size - 0.04, size - 0.04, color=colour, label=label))

    used = set()
    for index, placement in enumerate(chip.placements):
        held = [(n.row, n.column, n.slot) for n in placement.nps if placement.pass_index == n.chip == 0]
        for i, place in enumerate(held):
            square(*place, colormaps["tab10"](index % 10), placement.layer if i == 0 else None)
        used.update(held)
    for node in nodes:
        for slot in range(device.nps_per_node):
            if (*node, slot) not in used:
                square(*node, slot, "#f1f5f9")
    title = f"{device.name}: {len(used)} of {device.nps} NPs"
    axes.set(xlim=(0, device.mesh_columns), ylim=(nodes[-1][0] + 1, 0), aspect="equal", title=title)
    axes.axis("off")
    axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2)


def overview(
    chip: MappedNetwork, accuracies: dict[str, float], images: NDArray, labels: NDArray, predicted: NDArray
) -> Any:
    """Draw an image classifier on a chip: samples, accuracies, confusion, layers and mesh in one figure.

    Args:
        chip: the mapped network, after a run over ``images``.
        accuracies: accuracies by name, 0 to 1; the last one is highlighted.
        images: the samples (N, H, W, 1).
        labels: the true classes (N,).
        predicted: the chip's classes (N,).
    """
    figure = load_pyplot()(figsize=(11, 8), layout="constrained")
    mosaic = [["samples", "samples", "accuracy"], ["confusion", "layers", "mesh"]]
    axes = figure.subplot_mosaic(mosaic, height_ratios=[1, 2], width_ratios=[1.1, 1, 1])
    draw_samples(axes["samples"], images, labels, predicted)
    draw_accuracy(axes["accuracy"], accuracies)
    draw_confusion(axes["confusion"], labels, predicted)
    draw_layers(axes["layers"], chip.statistics)
    draw_mesh(axes["mesh"], chip)
    return figure


def comparison(found: Comparison) -> Any:
    """Draw the signal-to-quantisation-noise ratio of each layer as a bar; equal layers have full bars."""
    figure = load_pyplot()(figsize=(8, 1.5 + 0.25 * len(found.layers)), layout="constrained")
    axes = figure.subplots()
    ratios = [layer.sqnr_db for layer in found]
    top = max([r for r in ratios if np.isfinite(r)], default=40.0) * 1.1
    colours = [SPIKE if np.isfinite(r) else QUIET for r in ratios]
    bars = axes.barh([layer.layer for layer in found], [min(r, top) for r in ratios], color=colours)
    axes.bar_label(bars, labels=[f"{r:.1f} dB" if np.isfinite(r) else "equal" for r in ratios], padding=3)
    axes.set(xlim=(min(0.0, *ratios), top * 1.15), xlabel="signal-to-quantisation-noise ratio, dB")
    axes.set_title(f"{found.b} against {found.a}")
    axes.invert_yaxis()
    return figure


def analysis(found: Analysis) -> Any:
    """Draw a row for each layer: its weights and its output before and after, and what it costs."""
    figure = load_pyplot()(figsize=(11, 1.5 * len(found.layers) + 0.6), layout="constrained")
    grid = figure.subplots(len(found.layers), 2, squeeze=False)
    costs = found.costs()
    for (left, right), row in zip(grid, found.layers):
        name = row.difference.layer
        cost = f", costs {100 * costs[name]:+.2f} points" if costs else ""
        right.set_title(f"{name}: {row.difference.sqnr_db:.1f} dB{cost}", loc="left")
        left.set_title(f"{name}: weights" if row.weights else "", loc="left")
        for axes, histograms in ((left, row.weights), (right, row.activations)):
            axes.set_yticks([])
            if histograms is None:
                axes.set_axis_off()
            else:
                axes.stairs(histograms.before, histograms.edges, fill=True, color=QUIET, label="float")
                axes.stairs(histograms.after, histograms.edges, color=SPIKE, label="integers")
                axes.set_yscale("log")
    grid[0][1].legend(frameon=False, fontsize=7)
    return figure


def exploration(found: Exploration) -> Any:
    """Draw latency against energy; areas are NPs, and the designs that no other beats are named.

    Raises:
        SpicaError: where no design can run the network.
    """
    able = [d for d in found.designs if not d.problem]
    if not able:
        raise SpicaError(f"{found.network}: no design can run it, so there is nothing to draw; see the table")
    figure = load_pyplot()(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    best, most = found.pareto, max(d.nps for d in able)
    for d in able:
        colour = SPIKE if d in best else QUIET
        axes.scatter(d.latency_ms, d.energy_uj, s=30 + 270 * d.nps / most, color=colour, alpha=0.7, linewidths=0)
    for d in best:
        values = ", ".join(f"{name}={value}" for name, value in d.values.items())
        text = f"{values}\n{d.nps} NPs, {d.passes} pass{'es' if d.passes > 1 else ''}"
        axes.annotate(text, (d.latency_ms, d.energy_uj), xytext=(6, 6), textcoords="offset points", fontsize=7)
    axes.set(xlabel="latency of one sample, ms (modelled)", ylabel="energy a sample, uJ (modelled)")
    axes.set(xscale="log", yscale="log", title=f"{found.network} on variants of {found.device}")
    return figure


def places(layer: LearningDense, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return the connections of each class's neurons by place, ``(classes, H, W)``, for features ``(H, W, C)``."""
    height, width, channels = shape
    by_class = layer.kernel.reshape(height, width, channels, -1, layer.neurons_per_class)
    return by_class.sum(axis=(2, 4), dtype=np.int64).transpose(2, 0, 1)


def learned(
    before: LearningDense,
    after: LearningDense,
    shape: tuple[int, int, int],
    taught: NDArray,
    accuracies: Sequence[tuple[float, float]],
    names: Sequence[str],
) -> Any:
    """Draw the pictures that taught a learning layer, what each of them did, and where the neurons look.

    Args:
        before: the learning layer before it was taught.
        after: the learning layer afterwards; the last class is the new one.
        shape: shape of the features, ``(H, W, C)``.
        taught: the pictures ``(N, H, W, 1)``.
        accuracies: shares of new and old samples that are right, 0 to 1, before the first picture and after each.
        names: names of the classes.
    """
    figure = load_pyplot()(figsize=(11, 4.8), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[2, 1])
    pictures, curve = top.subplots(1, 2, width_ratios=[1.6, 1])
    pictures.imshow(np.concatenate(list(taught[..., 0]), axis=1), cmap="gray_r")
    pictures.axis("off")
    pictures.set_title(f"All that it was shown of {names[-1]!r}")
    new, old = 100 * np.array(accuracies).T
    curve.plot(new, marker="o", color=SPIKE, label=f"the new class, {names[-1]!r}")
    curve.plot(old, marker="o", color=INK, label="all others")
    curve.set(xlabel="pictures learned", ylabel="% right", ylim=(0, 102), title="On pictures that it never saw")
    curve.set_xticks(range(len(accuracies)))
    curve.legend(frameon=False, loc="lower right")
    maps, start = places(after, shape), places(before, shape)[-1]
    shown = [(f"{names[-1]!r}\nbefore", start), *((repr(name), image) for name, image in zip(names, maps))]
    peak = max(image.max() for _, image in shown)
    for axes, (name, image) in zip(bottom.subplots(1, len(shown)), shown):
        axes.imshow(image, cmap="Oranges", vmin=0, vmax=peak)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=8, color=SPIKE if image is maps[-1] or image is start else INK)
        for side in axes.spines.values():
            side.set_color(QUIET)
    bottom.suptitle("Where each class's neurons look: connections by place in the image", fontsize=9)
    return figure


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure as an ``.svg`` or ``.png`` file.

    Raises:
        SpicaError: for another suffix, or a folder that cannot be written.
    """
    if path.suffix == ".svg":
        write_atomically(path, to_svg(figure).encode())
    elif path.suffix == ".png":
        buffer = io.BytesIO()
        _escape(figure)
        figure.savefig(buffer, format="png", dpi=110)
        write_atomically(path, buffer.getvalue())
    else:
        raise SpicaError(f"{path}: pictures are .svg or .png files")


def to_svg(figure: Any) -> str:
    """Return the figure as an ``<svg>`` element."""
    buffer = io.StringIO()
    _escape(figure)
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _escape(figure: Any) -> None:
    """Escape what no picture can show in the texts of a figure, line by line: names may hold anything."""
    for text in figure.findobj(lambda artist: hasattr(artist, "set_text")):
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
