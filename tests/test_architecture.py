"""The design's promises: imports point one way, importing Spica stays light, files are short."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import spica
from spica.network.layer import RECORDS

ROOT = Path(spica.__file__).parent

LEVELS = [
    {"errors", "_native", "_renamed"},
    {"util"},
    {"network", "data"},
    {"semantics"},
    {"layers"},
    {"passes", "program"},
    {"engine", "frontends"},
    {"quantization", "hardware"},
    {"qat", "deploy", "learning"},
    {"keras", "report"},
    {"zoo"},
    {""},
    {"apps"},
    {"cli"},
]
"""Packages from the ground up: a package may import what stands on a lower level. "" is the public face."""

NEVER = {
    "report": {"apps", "cli", ""},
    "hardware": {"frontends"},
    "keras": {"network", "layers", "engine", "quantization", "hardware"},
    "data": {"network", "layers"},
    "engine": {"passes"},
}
"""Packages that a package must not import though the levels would let it."""

LEVEL = {package: i for i, packages in enumerate(LEVELS) for package in packages}


def imported_packages(path: Path) -> set[str]:
    """The packages of Spica that a module imports, anywhere in it."""
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "spica" else [node.module]
        for name in names:
            if name == "spica" or name.startswith("spica."):
                packages.add(name.partition(".")[2].partition(".")[0])
    return packages


def test_imports_point_one_way():
    for path in ROOT.rglob("*.py"):
        package = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if package in ("__init__", "_renamed"):
            continue
        assert package in LEVEL, f"{package} is a new package: give it a level here"
        for other in imported_packages(path) - {package}:
            below = LEVEL[other] < LEVEL[package]
            assert below and other not in NEVER.get(package, ()), f"{path.relative_to(ROOT)} imports {other or 'spica'}"


def test_importing_spica_loads_no_framework():
    heavy = ["keras", "tensorflow", "torch", "jax", "onnx", "matplotlib", "typer", "h5py", "scipy"]
    code = f"import spica, sys; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize("name", ["engine", "program"])
def test_no_public_name_hides_a_module(name):
    package = importlib.import_module(f"spica.{name}")
    modules = {path.stem for path in (ROOT / name).glob("*.py")} - {"__init__"}
    assert not modules & set(package.__all__)


RULE_MODULES = (
    "layers/", "passes/", "hardware/legalize/", "quantization/rules/", "frontends/quantizeml/",
    "qat/adaptation/rewrites/",
)  # fmt: skip
RULE_FILES = ("hardware/spec.py", "hardware/mapping/partition.py", "deploy/quantizeml.py")
"""Where transforms look at layer classes: their rules."""


def test_few_places_outside_the_rules_ask_for_the_class_of_a_layer():
    classes = {*RECORDS, "WeightedLayer", "WindowedLayer", "Temporal"}
    found = []
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if name.startswith((*RULE_MODULES, "program/")) or name in RULE_FILES:  # a program's steps are no layers
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                asked = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
                found += [f"{name}:{node.lineno}"] if asked & classes else []
    assert len(found) < 25, found


def test_files_and_functions_are_short():
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 450, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
