"""How light Spica is: time to import it, and the size of its core installation. ``python benchmarks/footprint.py``

Prints medians of 21 imports in fresh interpreters, and, given a wheel or the project's folder as argument, the size of
what ``pip install`` puts beside numpy into a new virtual environment.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 21
MEASURE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def import_seconds(module: str) -> float:
    """Median seconds to import ``module`` in a fresh interpreter."""
    command = [sys.executable, "-c", MEASURE.format(module)]
    return statistics.median(float(subprocess.check_output(command)) for _ in range(RUNS))


def installed_megabytes(project: str) -> dict[str, float]:
    """Megabytes of each package that ``pip install project`` brings into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", project], check=True
        )
        packages = next((Path(folder) / "lib").glob("python*/site-packages"))
        return {
            p.name: sum(f.stat().st_size for f in [p, *p.rglob("*")] if f.is_file()) / 1e6 for p in packages.iterdir()
        }


def main() -> None:
    numpy, spica = import_seconds("numpy"), import_seconds("spica")
    print(f"import spica: {spica:.3f} s, of which numpy {numpy:.3f} s (medians of {RUNS})")
    if len(sys.argv) > 1:
        sizes = installed_megabytes(sys.argv[1])
        beside = {name: size for name, size in sizes.items() if not name.startswith("numpy")}
        print(f"core installation beside numpy: {sum(beside.values()):.1f} MB")
        for name, size in sorted(beside.items(), key=lambda item: -item[1])[:8]:
            print(f"  {size:6.1f} MB  {name}")


if __name__ == "__main__":
    main()
