"""Puts the hardware model's errors into hardware-model.md and draws them: ``python tools/docs/make_hardware_model.py``.

The rows of AKD1500 are those that ``python benchmarks/hardware/evaluate.py`` left: each predicted by a law that was
fitted without its family.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pages import Row, filled, markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "explanation" / "hardware-model.md"
PICTURE = DOCS / "images" / "hardware_model.svg"
sys.path.insert(0, str(ROOT / "benchmarks" / "hardware"))

import published  # noqa: E402

import spica  # noqa: E402
from spica.hardware import load_device, map_network  # noqa: E402

RESULTS = ROOT / "benchmarks" / "hardware" / "results" / "left_out.json"
SMALL = ("keywords", "ECG")


def percent(x: float) -> str:
    return f"{x:+.1%}"


def spread(errors: Iterable[float]) -> Row:
    """Cells of a table: number, median, 90th percentile, mean and largest of errors, and the mean with its sign."""
    signed = np.array(list(errors))
    e = np.abs(signed)
    cells = (np.median(e), np.percentile(e, 90), e.mean(), e.max())
    return (str(len(e)), *(f"{value:.1%}" for value in cells), percent(signed.mean()))


SPREAD = ("rows", "median", "90 %", "mean", "largest", "signed")


def results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text())


# -- AKD1500 -------------------------------------------------------------------------------------------------------


def fit_section() -> str:
    rows = [
        (f"`{name}`", f"{value['fit']:.4g}", f"{value['catalogue']:.4g}") for name, value in results()["fit"].items()
    ]
    single = [
        (r["what"], f"{r['measured']:.4g}", f"{r['modelled']:.4g}", percent(r["modelled"] / r["measured"] - 1))
        for r in results()["single layers"]
    ]
    return "\n\n".join(
        [
            markdown(("figure", "fit to the rows here", "catalogue"), rows),
            "Single layers that the vendor measured (1x1 to 7x7 by their slope over events; energy by subtraction):",
            markdown(("what", "measured", "modelled", "error"), single),
        ]
    )


def layers_section() -> str:
    layers = results()["layers"]
    convolutions = [r for r in layers if r["kind"] in ("conv", "sep")]
    kinds: dict[str, Sequence[dict[str, Any]]] = {
        "3x3, printed": [r for r in convolutions if r["printed"] and not r["sparse"]],
        "3x3, printed or read off pictures": [r for r in convolutions if not r["sparse"]],
        "of it one band": [r for r in convolutions if not r["sparse"] and r["bands"] == 1],
        "of it several bands": [r for r in convolutions if not r["sparse"] and r["bands"] > 1],
        "3x3, fewer than 15 % events": [r for r in convolutions if r["sparse"]],
        "all convolutions": convolutions,
        "input unit": [r for r in layers if r["kind"] == "input"],
        "fully connected": [r for r in layers if r["kind"] == "fc"],
    }
    table = [
        (name, *spread(r["error"] for r in rows), f"{np.mean([r['inside'] for r in rows]):.0%}")
        for name, rows in kinds.items()
    ]
    worst = sorted(layers, key=lambda r: -abs(r["error"]))[:12]
    listed = [(r["network"], r["layer"], str(r["bands"]), f"{r['measured']:,.0f}", percent(r["error"])) for r in worst]
    return "\n\n".join(
        [
            markdown(("layers", *SPREAD, "in their bands"), table),
            "The twelve worst:",
            markdown(("network", "layer", "bands", "measured cycles", "error"), listed),
        ]
    )


def networks_section() -> str:
    rows = results()["networks"]
    exact = [r for r in rows if len(set(r["nps"])) == len(set(r["passes"])) == 1]
    groups = {"large networks": [r for r in rows if r["family"] not in SMALL]}
    groups |= {"small networks (keywords, ECG)": [r for r in rows if r["family"] in SMALL], "all": rows}
    table = []
    for words, group in groups.items():
        for figure in ("cycles", "dynamic", "total"):
            held = [r[figure] for r in group if figure in r]
            inside = f"{np.mean([x['inside'] for x in held]):.0%}"
            table.append((f"{words}: {figure}", *spread(x["error"] for x in held), inside))
    tiers = [
        (
            f"{tier}: {figure}",
            str(len(held)),
            f"{np.mean([x['inside'] for x in held]):.0%}",
        )
        for tier in ("calibrated", "interpolated")
        for figure in ("cycles", "dynamic", "total")
        if (held := [r[figure] for r in rows if r["tier"] == tier and figure in r])
    ]
    return "\n\n".join(
        [
            f"NPs and passes are the published ones in {len(exact)} of {len(rows)} rows. {modes(rows)}",
            markdown(("networks", *SPREAD, "in their bands"), table),
            "Coverage of the bands by tier (90 % is meant):",
            markdown(("tier and figure", "rows", "inside"), tiers),
            markdown(
                ("network", "mode", "sparsity", "NPs / passes", "measured cycles", "cycles", "dynamic", "total"),
                [network_row(r) for r in rows],
            ),
        ]
    )


def network_row(r: dict[str, Any]) -> Row:
    (nps, ours), (passes, our_passes) = r["nps"], r["passes"]
    mapped = f"{ours} / {our_passes}" + (
        "" if (nps, passes) == (ours, our_passes) else f" (published {nps} / {passes})"
    )
    figures = (
        percent(r[name]["error"]) + ("" if r[name]["inside"] else " (outside)") if name in r else ""
        for name in ("cycles", "dynamic", "total")
    )
    return (r["network"], r["mode"], r["sparsity"], mapped, f"{r['measured']:,.0f}", *figures)


def modes(rows: list[dict[str, Any]]) -> str:
    """Whether the order of modes in latency is the measured one; modes within 1 % of each other have none."""
    right = pairs = 0
    for name in dict.fromkeys(r["network"] for r in rows):
        mine = [r for r in rows if r["network"] == name]
        for i, a in enumerate(mine):
            for b in mine[i + 1 :]:
                if abs(a["measured"] / b["measured"] - 1) > 0.01:
                    pairs += 1
                    right += (a["measured"] < b["measured"]) == (a["modelled"] < b["modelled"])
    return f"Of two modes of a network the faster one is told in {right} of {pairs} pairs."


# -- AKD1000 and the second generation -----------------------------------------------------------------------------


def akd1000_section() -> str:
    net = published.build("akidanet_imagenet_50_224")
    given, _ = published.densities("akidanet_imagenet_50_224", net, 0)
    chip = map_network(net, "AKD1000", mode="all")
    cost = chip.estimate(given)
    stream = 10 * cost.interval_ms * 300e3 - cost.interval_ms * 300e3 + cost.cycles
    keywords = map_network(published.build("ds_cnn_speech_commands"), "AKD1000", mode="all")
    layers = ", ".join(f"{place.layer} {len(place.nps)}" for place in chip.placements if place.nps)
    return "\n\n".join(
        [
            f"AkidaNet 0.5 at 224 in the mode that uses all NPs: {chip.nps} NPs (published 68), layer by layer as "
            f"published: {layers}. The keyword network has {keywords.nps} (published 65).",
            markdown(
                ("run", "published cycles", "modelled", "error"),
                [
                    ("one random frame", "13,733,572", f"{cost.cycles:,.0f}", percent(cost.cycles / 13_733_572 - 1)),
                    ("ten frames", "43,000,636", f"{stream:,.0f}", percent(stream / 43_000_636 - 1)),
                ],
            ),
        ]
    )


CASES = {
    "AkidaNet 0.5 PlantVillage 224": ("akidanet", 0.5, 224, False, [512, 38]),
    "MobileNetV1 0.5 PlantVillage 224": ("mobilenet", 0.5, 224, True, [38]),
    "MobileNetV1 0.25 VWW 96": ("mobilenet", 0.25, 96, True, [2]),
}


def second_section() -> str:
    large = load_device("AKIDA2-12").replace(nodes=100)
    wrong: list[Row] = []
    total = 0
    for r in published.read("zoo2.csv"):
        kind, alpha, *rest = r["model"].split()
        if kind not in ("AkidaNet", "MobileNetV1") or rest != ["ImageNet"]:
            continue
        kind = "akidanet" if kind == "AkidaNet" else "mobilenet"
        net = published.second_generation(kind, float(alpha), int(r["resolution"]), int(r["bits"]), False, [1000])
        nps, total = map_network(net, large).nps, total + 1
        if nps != int(r["nps"]):
            wrong.append((r["model"], r["resolution"], r["bits"], r["nps"], str(nps)))
    table: list[Row] = []
    errors = []
    exact = 0
    for r in published.read("akida2_networks.csv"):
        if r["network"] not in CASES or r["mode"] not in ("minimal", "all", "fastest"):
            continue
        kind, alpha, resolution, relu, ends = CASES[r["network"]]
        net = published.second_generation(kind, alpha, resolution, int(r["bits"]), relu, ends)
        chip = map_network(net, "AKIDA2-FPGA", mode=r["mode"])
        cost = chip.estimate(dict.fromkeys(net.types, 1 - float(r["mean_sparsity"]) / 100))
        exact += (chip.nps + 1, chip.passes) == (int(r["nps"]), int(r["passes"]))
        errors.append(cost.cycles / float(r["cycles"]) - 1)
        mapping = (f"{r['nps']} / {r['passes']}", f"{chip.nps + 1} / {chip.passes}")
        table.append((r["network"], r["bits"], r["mode"], *mapping, f"{int(r['cycles']):,}", percent(errors[-1])))
    header = ("network", "bits", "mode", "published NPs / passes", "modelled", "measured cycles", "error")
    return "\n\n".join(
        [
            f"**NP totals of the zoo:** {total - len(wrong)} of {total} exact. The others:",
            markdown(("network", "resolution", "bits", "published", "modelled"), wrong),
            f"**On the FPGA of six nodes:** NPs and passes exact in {exact} of {len(errors)} rows. Cycles, with the "
            "published mean sparsity in every layer:",
            markdown(("", *SPREAD), [("networks", *spread(errors))]),
            markdown(header, table),
        ]
    )


SECTIONS = {
    "fit": fit_section,
    "layers": layers_section,
    "networks": networks_section,
    "akd1000": akd1000_section,
    "second": second_section,
}


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, SECTIONS)


def draw() -> None:
    """Draw how far each row is off, and its band."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "spica"
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.4), layout="constrained")
    layers = sorted(results()["layers"], key=lambda r: r["measured"])
    for inside, color in ((True, "#2a6fb0"), (False, "#d1495b")):
        shown = [r for r in layers if r["inside"] is inside]
        words = "in its band" if inside else "outside"
        left.scatter([r["measured"] for r in shown], [100 * r["error"] for r in shown], s=14, color=color, label=words)
        held = [(i, r["cycles"]) for i, r in enumerate(results()["networks"]) if r["cycles"]["inside"] is inside]
        right.scatter([i for i, _ in held], [100 * x["error"] for _, x in held], s=18, color=color, label=words)
    left.set(xscale="log", xlabel="measured cycles of a layer", ylabel="error of the model, %")
    right.set(ylabel="error of the model, %", xticks=range(len(results()["networks"])))
    labels = [f"{r['network'].removeprefix('akidanet_')} {r['mode']}" for r in results()["networks"]]
    right.set_xticklabels(labels, rotation=90, fontsize=6)
    for axes in (left, right):
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    PAGE.write_text(page())
    draw()
    print(f"written with spica {spica.__version__}")
