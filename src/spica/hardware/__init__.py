"""The virtual chip: devices as data, their rules, placing networks on them, and what running there costs."""

from spica.hardware.chip import MappedNetwork
from spica.hardware.compatibility import Finding, Report, check
from spica.hardware.device import Device, device_names, load_device
from spica.hardware.mapping import map_network
from spica.hardware.placement import NP, Placement
from spica.hardware.statistics import LayerCost, Statistics, two_digits

__all__ = [
    "NP",
    "Device",
    "Finding",
    "LayerCost",
    "MappedNetwork",
    "Placement",
    "Report",
    "Statistics",
    "check",
    "device_names",
    "load_device",
    "map_network",
    "two_digits",
]
