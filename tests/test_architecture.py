"""What the design promises of imports: they point one way, and importing Spica stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import spica

ROOT = Path(spica.__file__).parent

MAY_IMPORT = {
    "errors": set(),
    "progress": set(),
    "data": {"errors"},
    "network": {"errors"},
    "layers": {"network", "errors"},
    "engine": {"layers", "network", "errors"},
    "rewrite": {"layers", "network", "errors"},
    "importers": {"rewrite", "layers", "network", "errors"},
    "quantize": {"rewrite", "engine", "layers", "network", "errors", "progress"},
    "export": {"importers", "rewrite", "layers", "network", "errors"},
    "hardware": {"engine", "layers", "network", "progress", "errors"},
    "learning": {"quantize", "engine", "layers", "network", "errors", "progress"},
    "training": {"quantize", "rewrite", "engine", "layers", "network", "errors"},
    "zoo": {
        "temporal",
        "vision",
        "learning",
        "training",
        "importers",
        "quantize",
        "hardware",
        "engine",
        "rewrite",
        "layers",
        "network",
        "data",
        "errors",
        "progress",
    },
    "temporal": {"training", "errors"},
    "vision": {"training"},
    "teach": {"learning", "hardware", "layers", "network", "errors"},
    "report": {
        "learning",
        "training",
        "rewrite",
        "progress",
        "hardware",
        "quantize",
        "engine",
        "layers",
        "network",
        "errors",
    },
}
MAY_IMPORT["cli"] = {*MAY_IMPORT, ""}
"""Which room may import which; "" is the package's public face."""


def imported_rooms(path: Path) -> set[str]:
    """The rooms of Spica that a module imports, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "spica" else [node.module]
        for name in names:
            if name == "spica" or name.startswith("spica."):
                rooms.add(name.partition(".")[2].partition(".")[0])
    return rooms


def test_imports_point_one_way():
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        assert room in MAY_IMPORT, f"{room} is a new room: say here what it may import"
        forbidden = imported_rooms(path) - MAY_IMPORT[room] - {room}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def test_importing_spica_loads_no_framework():
    heavy = ["keras", "tensorflow", "torch", "jax", "onnx", "matplotlib", "typer", "h5py", "scipy"]
    code = f"import spica, sys; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
