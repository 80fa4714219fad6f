"""The virtual chip: devices as data, their rules, placing networks on them, and what running there costs."""

from spica.hardware.budget import cost
from spica.hardware.chip import MappedNetwork
from spica.hardware.compatibility import Finding, Report, check
from spica.hardware.device import Device, device_names, load_device
from spica.hardware.explore import Design, Exploration, explore
from spica.hardware.learning import LearningStep, learning_step
from spica.hardware.mapping import MODES, map_network
from spica.hardware.placement import NP, Placement
from spica.hardware.power import Power
from spica.hardware.remedies import Fixed, fix
from spica.hardware.statistics import LayerCost, NPCost, Statistics, two_digits

__all__ = [
    "MODES",
    "NP",
    "Design",
    "Device",
    "Exploration",
    "Finding",
    "Fixed",
    "LayerCost",
    "LearningStep",
    "MappedNetwork",
    "NPCost",
    "Placement",
    "Power",
    "Report",
    "Statistics",
    "check",
    "cost",
    "device_names",
    "explore",
    "fix",
    "learning_step",
    "load_device",
    "map_network",
    "two_digits",
]
