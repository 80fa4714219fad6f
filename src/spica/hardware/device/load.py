"""Read devices from the catalogue or from a user's TOML file, and check every key."""

from __future__ import annotations

import tomllib
import warnings
from dataclasses import MISSING, fields
from importlib import resources
from os import PathLike
from typing import Any

from spica.errors import SpicaError
from spica.hardware.device.rules import MAPPABLE, parse_rule
from spica.hardware.device.schema import FIGURES, Device
from spica.util.files import as_path, read_bytes, refuse_damage

KEYS: dict[str, type] = dict.fromkeys(("name", "extends", "description", "tier"), str)
TEXTS = ("np_kinds", "auxiliary", "unsupported")
KEYS |= dict.fromkeys(("figures", "order", *TEXTS), dict)
KEYS |= dict.fromkeys(("rule", "extra_rules"), list)
"""Keys of a device file, and the type of each."""

OLD_KEYS = {"like": "extends", "beside": "auxiliary", "further_rule": "extra_rules"}
"""Keys as version 0.1 spelt them; read until version 0.3."""


def device_names() -> list[str]:
    """Return the names of the devices in the catalogue."""
    return sorted(_catalogue())


def load_device(device: str | PathLike[str] | Device) -> Device:
    """Load a device by its name in the catalogue or the path of a TOML file; return a ``Device`` as it is.

    Raises:
        SpicaError: where there is no such device, or its file is wrong; it says which key.
    """
    if isinstance(device, Device):
        return device
    name = str(as_path(device))
    if entry := _catalogue().get(name.upper()):
        return _parse(name.upper(), entry.read_text("utf-8"))
    if not name.endswith(".toml"):
        raise SpicaError(f"device {name!r} is unknown; choose from {', '.join(device_names())}, or give a .toml file")
    try:
        return _parse(name, read_bytes(device).decode())
    except UnicodeDecodeError:
        raise SpicaError(f"{name}: not a text file; give a TOML file") from None


def _catalogue() -> dict[str, Any]:
    """Return the catalogue's files by the names of their devices."""
    entries = resources.files("spica.hardware.device").joinpath("catalog").iterdir()
    return {e.name.removesuffix(".toml").upper(): e for e in entries if e.name.endswith(".toml")}


def _parse(where: str, text: str) -> Device:
    """Return the device that a TOML file's text describes; what it lacks is taken from the device that it extends."""
    table = _checked_keys(where, text)
    base, measured = table.pop("extends", ""), "tier" in table
    parts = _inherited(where, base) if base else {}
    figures, order = table.pop("figures", {}), table.pop("order", {})
    _check_figures(where, figures)
    _check_order(where, order)
    if "rule" in table:
        parts["rules"] = ()
    for key in ("rule", "extra_rules"):
        for i, rule in enumerate(table.pop(key, ()), start=1):
            parts["rules"] = (*parts.get("rules", ()), parse_rule(f"{where}: {key} {i}", rule))
    sources = parts.get("sources", {}) | {key: figure["source"] for key, figure in figures.items()}
    parts |= {key: figure["value"] for key, figure in figures.items()} | {"sources": sources}
    parts |= table | {key: tuple(op_types) for key, op_types in order.items()}
    if missing := [f.name for f in fields(Device) if f.default is MISSING and f.name not in parts]:
        raise SpicaError(f"{where}: {missing[0]} is missing; give it, or name a device that this one 'extends'")
    device = Device(**parts)
    given = {key: figure["source"] for key, figure in figures.items()}
    return device if measured or not base else device.speculate(given, base)


def _checked_keys(where: str, text: str) -> dict[str, Any]:
    """Return a TOML file's table, whose keys are known, in today's spelling, and of the right types."""
    with refuse_damage(where, "not TOML; correct the file"):
        given = tomllib.loads(text)
    table: dict[str, Any] = {}
    for old, value in given.items():
        if old in OLD_KEYS:
            warnings.warn(f"{where}: the key {old!r} is now {OLD_KEYS[old]!r}", DeprecationWarning, stacklevel=4)
        key = OLD_KEYS.get(old, old)
        if key not in KEYS:
            raise SpicaError(f"{where}: {key}: not a key of a device file; choose from {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise SpicaError(f"{where}: {old}: must be a {KEYS[key].__name__}, but is {value!r:.40}")
        table[key] = value
        for line, words in table[key].items() if key in TEXTS else ():
            if not isinstance(words, str):
                raise SpicaError(f"{where}: {key}.{line}: must be a line of text, but is {words!r:.40}")
    return table


def _inherited(where: str, name: str) -> dict[str, Any]:
    if name.upper() not in (known := device_names()):
        raise SpicaError(f"{where}: extends: device {name!r} is unknown; choose from {', '.join(known)}")
    base = load_device(name)
    return {f.name: getattr(base, f.name) for f in fields(Device)}


def _check_figures(where: str, table: dict[str, Any]) -> None:
    for key, entry in table.items():
        if key not in FIGURES:
            raise SpicaError(f"{where}: figures.{key}: not a figure of a device; choose from {', '.join(FIGURES)}")
        if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
            raise SpicaError(f'{where}: figures.{key}: must be {{ value = ..., source = "..." }}')
        if not isinstance(entry["source"], str) or not entry["source"]:
            raise SpicaError(f"{where}: figures.{key}.source: must say where it comes from, or 'assumed'")


def _check_order(where: str, table: dict[str, Any]) -> None:
    for key, op_types in table.items():
        if key not in ("after_max_pool", "tables_after"):
            raise SpicaError(f"{where}: order.{key}: not a rule of order; choose from after_max_pool, tables_after")
        if not isinstance(op_types, list) or not all(kind in MAPPABLE for kind in op_types):
            raise SpicaError(f"{where}: order.{key}: must be a list of op types among {', '.join(MAPPABLE)}")
