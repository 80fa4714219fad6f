"""Fits the hardware model and puts its results into hardware-model.md: ``python tools/docs/make_hardware_model.py``.

Only rows marked "fit" are fitted: the layers of four networks, the vendor's sweep of one layer, six rows of networks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from pages import Row, filled, markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "explanation" / "hardware-model.md"
sys.path.insert(0, str(ROOT / "benchmarks" / "hardware"))

import published  # noqa: E402

import spica  # noqa: E402
from spica.hardware import Device, load_device, map_network  # noqa: E402

AKD1500 = load_device("AKD1500")
SWEEP = [(d, 679_844 * d + 25_577) for d in np.arange(0.1, 1.01, 0.1)]
"""Density and cycles of a 3x3 convolution, 32x32x32 to 32 filters: the vendor's line through its measurements."""


def percent(x: float) -> str:
    return f"{x:+.1%}"


def summary(errors: list[float]) -> str:
    e = np.abs(errors)
    return (
        f"mean {e.mean():.1%}, median {np.median(e):.1%}, 90th percentile {np.percentile(e, 90):.1%}, "
        f"largest {e.max():.1%}, signed mean {np.mean(errors):+.1%} ({len(e)} rows)"
    )


# -- layers --------------------------------------------------------------------------------------------------------


def layer_rows() -> list[dict]:
    """Every measured layer: its network, what the model is given, and its measured cycles."""
    rows = published.read("layers.csv")
    found = []
    for model in dict.fromkeys(r["model"] for r in rows):
        alpha, resolution = model.removeprefix("imagenet_a").split("_")
        name = f"akidanet_imagenet_{alpha}_{resolution}"
        net = published.build(name)
        chip = map_network(net, AKD1500)
        given, _ = published.densities(name, net, 0)
        for row, place in zip((r for r in rows if r["model"] == model), chip.placements):
            assert max(len(place.nps), 1) == int(row["nps"]), (model, row["layer"])
            measured = float(row["latency_ms"]) * AKD1500.clock_mhz * 1e3
            found.append({"model": model, "chip": chip, "given": given, "row": row, "place": place, "cycles": measured})
    return found


def predict(rows: list[dict], device: Device) -> list[float]:
    """Relative errors of the layers' cycles on a device."""
    costs: dict = {}
    for r in rows:
        if r["model"] not in costs:
            r["chip"].device = device
            costs[r["model"]] = {c.layer: c.cycles for c in r["chip"].estimate(r["given"]).layers}
    return [costs[r["model"]][r["place"].layer] / r["cycles"] - 1 for r in rows]


def sweep_chip():
    chain = published.network((32, 32, 32), published.separable(32), published.conv(32), bits=4)
    return map_network(chain, AKD1500)


def predict_sweep(device: Device) -> list[float]:
    chip = sweep_chip()
    chip.device = device
    return [chip.estimate(float(d)).layers[1].cycles / cycles - 1 for d, cycles in SWEEP]


def fit(rows: list[dict], sweep: bool = True) -> Device:
    """AKD1500 with products and rows a cycle fitted to convolutions: least relative error, robust to single rows.

    What an event and an output cost apart from products stays as it is; see the page.
    """
    rows = [r for r in rows if r["row"]["type"] in ("conv", "sep")]
    base = {"products_per_cycle": 1e12, "row_cycles": 0.0}
    columns = []
    for change in ({}, {"products_per_cycle": 1.0}, {"row_cycles": 1.0}):
        device = AKD1500.replace(**(base | change))
        errors = predict(rows, device) + (predict_sweep(device) if sweep else [])
        columns.append(np.array(errors) + 1)
    offset, products, runs = columns
    a = np.stack([products - offset, runs - offset], axis=1)
    weights = np.ones(len(a))
    for _ in range(100):
        solution, *_ = np.linalg.lstsq(a * weights[:, None], (1 - offset) * weights, rcond=None)
        weights = 1 / np.sqrt(np.maximum(np.abs(a @ solution + offset - 1), 0.01))
    return AKD1500.replace(products_per_cycle=1 / solution[0], row_cycles=solution[1])


def layers_section() -> str:
    rows = layer_rows()
    fitted, everything = fit(rows), predict(rows, AKD1500) + predict_sweep(AKD1500)
    held = []
    for family in ("a50", "a25"):
        rest = [r for r in rows if family not in r["model"]]
        held += predict([r for r in rows if family in r["model"]], fit(rest))
    held += predict_sweep(fit(rows, sweep=False))
    table = [
        (r["model"], r["row"]["layer"], f"{r['cycles']:,.0f}", percent(e)) for r, e in zip(rows, predict(rows, AKD1500))
    ]
    table += [
        ("sweep", f"density {d:.1f}", f"{c:,.0f}", percent(e)) for (d, c), e in zip(SWEEP, predict_sweep(AKD1500))
    ]
    return "\n\n".join(
        [
            f"The fit gives {fitted.products_per_cycle:.2f} products a cycle and {fitted.row_cycles:.4f} cycles a row; "
            f"the catalogue holds {AKD1500.products_per_cycle} and {AKD1500.row_cycles}.",
            f"**Layers, all in the fit:** {summary(everything)}.",
            f"**Layers of a width, or the sweep, left out of the fit in turn:** {summary(held)}.",
            markdown(("network", "layer", "measured cycles", "error"), table),
        ]
    )


# -- networks ------------------------------------------------------------------------------------------------------


def networks_section() -> str:
    nets: dict = {}
    table: list[Row] = []
    groups: dict[str, list[float]] = {}
    exact = 0
    rows = published.read("networks.csv")
    for r in rows:
        net = nets.setdefault(r["network"], published.build(r["network"]))
        given, how = published.densities(r["network"], net, float(r["mean_sparsity"]))
        chip = map_network(net, AKD1500, mode=r["mode"])
        cost = chip.estimate(given)
        nps, passes = chip.nps + 1, chip.passes
        right = (nps, passes) == (int(r["nps"]), int(r["passes"]))
        exact += right
        cycles = cost.cycles / float(r["cycles"]) - 1
        dynamic = cost.dynamic_energy_uj * 1e-3 / float(r["dynamic_mj"]) - 1
        total = cost.power.energy_mj / float(r["total_mj"]) - 1 if r["total_mj"] else None
        low, high = cost.confidence.band("cycles", cost.cycles)
        small = "arrhythmia" in r["network"] or "ds_cnn" in r["network"]
        group = f"{'3x3' if not small else 'small'}, {r['use']}, sparsity {how}"
        for name, error in (("cycles", cycles), ("dynamic energy", dynamic), ("total energy", total)):
            if error is not None:
                groups.setdefault(f"{group}: {name}", []).append(error)
        table.append(
            (
                r["network"],
                r["mode"],
                r["use"],
                how,
                f"{nps} / {passes}" + ("" if right else f" (published {r['nps']} / {r['passes']})"),
                f"{float(r['cycles']):,.0f}",
                percent(cycles) + ("" if low <= float(r["cycles"]) <= high else " (outside its band)"),
                percent(dynamic),
                "" if total is None else percent(total),
            )
        )
    header = ("network", "mode", "use", "sparsity", "NPs / passes", "measured cycles", "cycles", "dynamic", "total")
    lines = [f"* {name}: {summary(errors)}" for name, errors in sorted(groups.items())]
    return "\n\n".join(
        [
            f"NPs and passes are the published ones in {exact} of {len(rows)} rows.",
            "\n".join(lines),
            markdown(header, table),
        ]
    )


def akd1000_section() -> str:
    net = published.build("akidanet_imagenet_50_224")
    given, _ = published.densities("akidanet_imagenet_50_224", net, 0)
    chip = map_network(net, "AKD1000", mode="all")
    cost = chip.estimate(given)
    stream = 10 * cost.interval_ms * 300e3 - cost.interval_ms * 300e3 + cost.cycles
    layers = ", ".join(f"{place.layer} {len(place.nps)}" for place in chip.placements if place.nps)
    return "\n\n".join(
        [
            f"AkidaNet 0.5 at 224 in the mode that uses all NPs: {chip.nps} NPs (published 68), layer by layer as "
            f"published: {layers}.",
            markdown(
                ("run", "published cycles", "modelled", "error"),
                [
                    ("one random frame", "13,733,572", f"{cost.cycles:,.0f}", percent(cost.cycles / 13_733_572 - 1)),
                    ("ten frames", "43,000,636", f"{stream:,.0f}", percent(stream / 43_000_636 - 1)),
                ],
            ),
        ]
    )


# -- second generation ---------------------------------------------------------------------------------------------


def second_section() -> str:
    large = load_device("AKIDA2-12").replace(nodes=100)
    wrong: list[Row] = []
    total = 0
    for r in published.read("zoo2.csv"):
        family, alpha, *rest = r["model"].split()
        if family not in ("AkidaNet", "MobileNetV1") or rest != ["ImageNet"]:
            continue
        kind = "akidanet" if family == "AkidaNet" else "mobilenet"
        net = published.second_generation(kind, float(alpha), int(r["resolution"]), int(r["bits"]), False, [1000])
        nps, total = map_network(net, large).nps, total + 1
        if nps != int(r["nps"]):
            wrong.append((r["model"], r["resolution"], r["bits"], r["nps"], str(nps)))
    table: list[Row] = []
    errors = []
    cases = {
        "AkidaNet 0.5 PlantVillage 224": ("akidanet", 0.5, 224, False, [512, 38]),
        "MobileNetV1 0.5 PlantVillage 224": ("mobilenet", 0.5, 224, True, [38]),
        "MobileNetV1 0.25 VWW 96": ("mobilenet", 0.25, 96, True, [2]),
    }
    exact = counted = 0
    for r in published.read("akida2_networks.csv"):
        if r["network"] not in cases or r["mode"] not in ("minimal", "all", "fastest"):
            continue
        kind, alpha, resolution, relu, ends = cases[r["network"]]
        net = published.second_generation(kind, alpha, resolution, int(r["bits"]), relu, ends)
        chip = map_network(net, "AKIDA2-FPGA", mode=r["mode"])
        cost = chip.estimate(1 - float(r["mean_sparsity"]) / 100)
        right = (chip.nps + 1, chip.passes) == (int(r["nps"]), int(r["passes"]))
        exact, counted = exact + right, counted + 1
        errors.append(cost.cycles / float(r["cycles"]) - 1)
        table.append(
            (
                r["network"],
                r["bits"],
                r["mode"],
                f"{r['nps']} / {r['passes']}",
                f"{chip.nps + 1} / {chip.passes}",
                f"{int(r['cycles']):,}",
                percent(errors[-1]),
            )
        )
    return "\n\n".join(
        [
            f"**NP totals of the zoo:** {total - len(wrong)} of {total} exact. The others:",
            markdown(("network", "resolution", "bits", "published", "modelled"), wrong),
            f"**On the FPGA of six nodes:** NPs and passes exact in {exact} of {counted} rows. Cycles, with the "
            f"published mean sparsity in every layer: {summary(errors)}.",
            markdown(
                ("network", "bits", "mode", "published NPs / passes", "modelled", "measured cycles", "error"), table
            ),
        ]
    )


SECTIONS = {
    "layers": layers_section,
    "networks": networks_section,
    "akd1000": akd1000_section,
    "second": second_section,
}


def page() -> str:
    return filled(PAGE, SECTIONS)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"written with spica {spica.__version__}")
