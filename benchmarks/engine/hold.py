"""Runs a benchmark with both sides held to a lesser instruction set: ``python hold.py avx2 run.py --quick``.

Spica is asked by ``SPICA_ISA``. onnxruntime has no such switch and looks at the processor itself, so a copy of it
is made whose ``cpuid`` instructions are illegal ones of the same length; a small preloaded library catches these and
leaves AVX-512 (and, for ``avx2``, AVX-VNNI) out of the answer. Nothing else of it changes. Needs gcc and objdump,
x86-64 and Linux.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CPUID, ILLEGAL = b"\x0f\xa2", b"\x0f\x0b"


def blind(library: Path) -> int:
    """Replaces every ``cpuid`` of a library; returns how many there were."""
    listing = subprocess.check_output(["objdump", "-d", "--no-show-raw-insn", str(library)], text=True)
    addresses = [int(line.split(":")[0], 16) for line in listing.splitlines() if line.split("\t")[1:2] == ["cpuid"]]
    data = bytearray(library.read_bytes())
    for address in addresses:
        at = address - offset_of_text(library)
        assert data[at : at + 2] == CPUID, "the code does not lie where its headers say"
        data[at : at + 2] = ILLEGAL
    library.write_bytes(data)
    return len(addresses)


def offset_of_text(library: Path) -> int:
    """Address less file offset of the code."""
    headers = subprocess.check_output(["objdump", "-h", str(library)], text=True)
    fields = next(line.split() for line in headers.splitlines() if line.split()[1:2] == [".text"])
    return int(fields[3], 16) - int(fields[5], 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("isa", choices=["avx2", "avxvnni"])
    parser.add_argument("script", help="run.py or layers.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    spec = importlib.util.find_spec("onnxruntime")
    assert spec and spec.submodule_search_locations
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "onnxruntime"
        shutil.copytree(spec.submodule_search_locations[0], copy)
        (extension,) = copy.glob("capi/onnxruntime_pybind11_state*.so")
        assert blind(extension), "no cpuid found"
        shim = Path(folder) / "hold.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", str(HERE / "hold.c"), "-o", str(shim)], check=True)
        path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        held = {**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(shim), "SPICA_ISA": options.isa}
        command = [sys.executable, str(HERE / options.script), *options.arguments]
        sys.exit(subprocess.run(command, env=held).returncode)


if __name__ == "__main__":
    main()
