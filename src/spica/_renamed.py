"""Old module names, for one version: each gives what the new module has, with a warning.

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


class _Renamed(ModuleType):
    """A module that imports its successor, with a warning, when something is first read from it."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(old)
        self.__dict__["_new"] = new

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what import machinery and debuggers look for must not load anything
            raise AttributeError(name)
        value = getattr(import_module(self._new), name)
        warnings.warn(f"{self.__name__} is now {self._new}", DeprecationWarning, stacklevel=2)
        return value


def register() -> None:
    """Make the old names importable; a package that has something of that name (``spica.quantize``) keeps it."""
    for old, new in RENAMED.items():
        sys.modules[f"spica.{old}"] = module = _Renamed(f"spica.{old}", f"spica.{new}")
        package, _, name = f"spica.{old}".rpartition(".")
        if package in sys.modules and name not in vars(sys.modules[package]):
            setattr(sys.modules[package], name, module)
