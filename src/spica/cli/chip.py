"""Commands on devices: devices, check, map."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import spica
from spica import hardware, report
from spica.cli.measure import Picture
from spica.cli.network import NetworkFile
from spica.cli.output import Json, emit, read_array, refuse_unread
from spica.errors import SpicaError
from spica.hardware import device_names, load_device
from spica.hardware.cost_model.activity import TYPICAL_DENSITY
from spica.hardware.device.schema import FIGURES
from spica.util.table import table

Density = Annotated[
    float | None, typer.Option(help="Share of non-zero values where no samples are given; 0.5 by default.")
]
Device = Annotated[str, typer.Option("--device", "-d", help="A device of the catalogue, or a .toml file.")]


def devices(
    name: Annotated[str | None, typer.Argument(help="Show all figures of one device, with their sources.")] = None,
    json: Json = False,
) -> None:
    """List the devices of the catalogue, or the figures of one."""
    if name is not None:
        device = load_device(name)
        figures = {f: {"value": getattr(device, f), "source": device.sources[f]} for f in FIGURES}
        emit({"name": device.name, "tier": device.tier, "figures": figures}, str(device), json)
        return
    known = [load_device(name) for name in device_names()]
    facts = {d.name: {"nodes": d.nodes, "nps": d.nps, "clock_mhz": d.clock_mhz} for d in known}
    rows = [(d.name, str(d.nodes), str(d.nps), f"{d.clock_mhz:g}") for d in known]
    emit(facts, table([("device", "nodes", "NPs", "MHz"), *rows], left=1), json)


def check(
    network: NetworkFile,
    device: Device = "AKD1000",
    fix: Annotated[
        Path | None, typer.Option(help="Apply changes that leave the outputs as they are, and save the network here.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Inputs on which to count sums that saturate, and compare outputs after --fix.")
    ] = None,
    json: Json = False,
) -> None:
    """Check a network against the rules of a device; exit code 1 if it breaks any."""
    net = spica.from_file(network)
    x = None if samples is None else read_array(samples)
    if fix is None:
        found = spica.check(net, device, x)
        emit(found.to_dict(), str(found), json)
    else:
        fixed = hardware.fix(net, device, x)
        fixed.network.save(fix)
        found = fixed.report
        facts = {"changes": list(fixed.changes), "largest_difference": fixed.largest_difference}
        emit(facts | found.to_dict(), str(fixed), json)
    if not found.ok:
        if not json:
            if fix is None:
                fixed = hardware.fix(net, device)
                typer.echo(_would_fix(found, fixed))
            from spica.qat.adaptation.proposal import adaptable  # only here: quantising and training load with it

            if adaptable(fixed.report.findings):
                typer.echo(
                    "\nno exact change ends what is left; to change the float network and train it again: "
                    f"spica adapt FLOAT_NETWORK --samples x.npy -d {device}"
                )
            typer.echo(_cut(fixed.network, device))
        raise typer.Exit(1)


def _would_fix(before: hardware.Report, fixed: hardware.Fixed) -> str:
    """Return in words what ``--fix`` would do about the findings."""
    gone = len(before.findings) - len(fixed.report.findings)
    if not gone:
        return "\n--fix changes none of these"
    all_of = "all" if fixed.report.ok else f"{gone} of {len(before.findings)}"
    return f"\n--fix new.spica ends {all_of} of these and leaves every output as it is: " + "; ".join(fixed.changes)


def _cut(net: spica.Network, device: str) -> str:
    """Return in words what of a network the device could run, and what its host."""
    try:
        return f"\nspica.split leaves the rest to the host: {spica.split(net, device)}"
    except SpicaError as error:
        return f"\nspica.split cannot leave the rest to the host: {error}"


def map(
    network: NetworkFile,
    samples: Annotated[
        Path | None, typer.Option(help="Inputs as a .npy array, batch axis first; without them costs are estimated.")
    ] = None,
    device: Device = "AKD1000",
    mode: Annotated[str, typer.Option(help="How NPs are given out: minimal, all or fastest.")] = "minimal",
    passes: Annotated[int | None, typer.Option(help="Passes in the fastest mode.")] = None,
    chips: Annotated[int, typer.Option(help="Devices that share the network.")] = 1,
    fit_memory: Annotated[
        bool, typer.Option("--fit-memory", help="Configure the scratchpads for the network.")
    ] = False,
    density: Density = None,
    json: Json = False,
) -> None:
    """Map a network to a device, run samples on it, and show what they cost."""
    chip = spica.map(spica.from_file(network), device, mode=mode, passes=passes, chips=chips, fit_memory=fit_memory)
    if samples is None:
        statistics = chip.estimate(TYPICAL_DENSITY if density is None else density)
    else:
        refuse_unread("where samples are given", density=density)
        chip.forward(read_array(samples))
        statistics = chip.statistics
    emit(statistics.to_dict(), str(statistics), json)


def explore(
    network: NetworkFile,
    vary: Annotated[
        list[str] | None, typer.Option(help="A figure of the device and its values: nodes=1,2,4. May be repeated.")
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Show instead which figures of the device the costs hang on.")
    ] = False,
    device: Device = "AKD1000",
    samples: Annotated[Path | None, typer.Option(help="Inputs whose sparsity in each layer is measured first.")] = None,
    density: Density = None,
    picture: Picture = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one for each processor by default.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster that shares the work, or auto.")] = None,
    json: Json = False,
) -> None:
    """Map a network to many variants of a device and show which no other beats."""
    if samples is not None:
        refuse_unread("where samples are given", density=density)
    if address is not None:
        refuse_unread("where a cluster shares the work", workers=workers)
    net, x = spica.from_file(network), None if samples is None else read_array(samples)
    shares = TYPICAL_DENSITY if density is None else density
    if sensitivity:
        refuse_unread("with --sensitivity", vary=vary or None, picture=picture, workers=workers, address=address)
        hangs = hardware.sensitivity(spica.map(net, device), shares if x is None else hardware.densities(net, x))
        emit(hangs.to_dict(), str(hangs), json)
        return
    found = hardware.explore(
        net,
        device,
        dict(parse_values(text) for text in vary or ()),
        samples=x,
        density=shares,
        workers=workers if workers is not None else os.cpu_count() or 1,
        address=address,
    )
    if picture is not None:
        report.write_figure(report.figures.exploration(found), picture)
    emit(found.to_dict(), str(found), json)


def parse_values(text: str) -> tuple[str, list[int | float | str]]:
    """Return ``name=1,2.5,fastest`` as a name and its values."""
    name, _, values = text.partition("=")
    if not name or not values:
        raise SpicaError(f"--vary {text!r}: must be a name and values, such as nodes=1,2,4")
    return name, [_number(value) for value in values.split(",")]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
