"""The virtual chip: devices as data, their rules, placing networks on them, and what running there costs."""

from spica import _renamed
from spica.hardware.budget import cost
from spica.hardware.checking import Finding, Report, check
from spica.hardware.cost_model.learning import LearningStep, learning_step
from spica.hardware.cost_model.statistics import LayerCost, NPCost, Power, Statistics, two_digits
from spica.hardware.device.load import device_names, load_device
from spica.hardware.device.schema import Device
from spica.hardware.exploration import Design, Exploration, densities, explore
from spica.hardware.legalize.fix import Fixed, fix
from spica.hardware.mapping.api import MODES, map_network
from spica.hardware.mapping.placement import NP, Placement
from spica.hardware.sensitivity import Sensitivity, sensitivity
from spica.hardware.simulate import MappedNetwork
from spica.hardware.spec import LayerSpec, OpType, specs

__all__ = [
    "MODES", "NP", "Design", "Device", "Exploration", "Finding", "Fixed", "LayerCost", "LayerSpec",
    "LearningStep", "MappedNetwork", "NPCost", "OpType", "Placement", "Power", "Report", "Sensitivity",
    "Statistics", "check", "cost", "densities", "device_names", "explore", "fix", "learning_step", "load_device",
    "map_network", "sensitivity", "specs", "two_digits",
]  # fmt: skip

_renamed.register()
