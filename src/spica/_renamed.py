"""Old names of modules and of what is in them, for one version: each gives what the new one has, with a warning.

To be removed, with the other names that warn, in version 0.3.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

RENAMED = {
    "importers": "frontends",
    "importers.quantizeml": "frontends.quantizeml",
    "export": "deploy",
    "rewrite": "passes",
    "quantize": "quantization",
    "quantize.rounding": "quantization.rounding",
    "training": "qat",
    "training.teacher": "qat.distillation",
    "temporal": "keras",
    "vision": "keras",
    "teach": "apps.teach",
    "network.record": "network.layer",
    "network.tensor": "network.types",
    "layers.arithmetic": "semantics.primitives",
    "layers.neural": "layers.weighted",
    "layers.depthwise": "layers.convolution",
    "layers.separable": "layers.convolution",
    "layers.lookup": "layers.activation",
    "engine.run": "engine.runner",
    "engine.record": "program.trace",
    "engine.reference": "semantics.reference",
    "engine.float32": "semantics.float32",
    "hardware.compatibility": "hardware.checking",
    "hardware.activity": "hardware.cost_model.activity",
    "hardware.statistics": "hardware.cost_model.statistics",
    "hardware.learning": "hardware.cost_model.learning",
    "hardware.placement": "hardware.mapping.placement",
    "hardware.chip": "hardware.simulate",
    "report.analyze": "report.analysis",
    "report.compare": "report.comparison",
    "report.learning": "report.figures",
    "report.page": "report.html",
    "zoo.digits": "zoo.recipes.digits",
    "zoo.moving": "zoo.recipes.moving",
    "zoo.tenn": "zoo.builders.tenn",
    "zoo.vit": "zoo.builders.vit",
    "zoo.tiny": "zoo.builders.tiny",
    "zoo.backbone": "zoo.builders.backbone",
}

"""New name of each module that moved."""

MOVED = {
    "importers.Split": "deploy.Split",
    "importers.split": "deploy.split",
    "layers.Gelu": "layers.TableActivation",
    "layers.Neural": "layers.WeightedLayer",
    "network.Facts": "hardware.LayerSpec",
}
"""New place of what is not in the new module, or left one that has its old name still."""


class _Renamed(ModuleType):
    """A module that imports its successor, with a warning, when something is first read from it."""

    def __getattr__(self, name: str) -> Any:
        return _look_up(self.__name__.removeprefix("spica."), name)


def _look_up(module: str, name: str) -> Any:
    """Return what ``name`` was in an old module, with a warning that tells where it is now."""
    old = f"{module}.{name}"
    new = MOVED.get(old) or f"{RENAMED.get(module)}.{name}"
    if name.startswith("__") or not (old in MOVED or module in RENAMED):  # the first: import machinery and debuggers
        raise AttributeError(f"module 'spica.{module}' has no attribute {name!r}")
    place, _, attribute = new.rpartition(".")
    value = getattr(import_module(f"spica.{place}"), attribute)
    was, now = (old, new) if old in MOVED else (module, place)
    warnings.warn(f"spica.{was} is now spica.{now}", DeprecationWarning, stacklevel=3)
    return value


def register() -> None:
    """Make old names importable, in the packages that are loaded; one loaded later calls this again.

    A package that has something of an old name (``spica.quantize``, a function) keeps it.
    """
    for old in RENAMED:
        package, _, name = f"spica.{old}".rpartition(".")
        if package in sys.modules and f"spica.{old}" not in sys.modules:
            sys.modules[f"spica.{old}"] = module = _Renamed(f"spica.{old}")
            if name not in dir(sys.modules[package]):
                setattr(sys.modules[package], name, module)
    for package in {old.rpartition(".")[0] for old in MOVED} - RENAMED.keys():
        vars(sys.modules[f"spica.{package}"])["__getattr__"] = lambda name, package=package: _look_up(package, name)
