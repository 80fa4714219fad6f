"""Puts the conformance results into arithmetic.md: ``python tools/docs/make_conformance.py FULL HELD [HELD ...]``.

FULL holds the full set, each HELD a set that was made after the code, with another seed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHECK = ROOT / "tests" / "conformance" / "check.py"
GOLDEN, ONNX = CHECK.parent / "golden", CHECK.parent / "golden_onnx"
BEGIN, END = "<!-- made by tools/docs/make_conformance.py -->\n", "<!-- end -->\n"
KINDS = ("exact", "rounded", "summed", "mismatch")


def results(folder: Path) -> list[dict]:
    done = subprocess.run([sys.executable, CHECK, folder, "--json"], capture_output=True, text=True)
    return json.loads(done.stdout)


def row(name: str, found: list[dict]) -> str:
    counts = (f"{sum(r.get(kind, 0) for r in found):,}" for kind in KINDS)
    return f"| {name} | {len(found)} | {sum(r['layers'] for r in found):,} | {' | '.join(counts)} |"


def main() -> None:
    full = results(Path(sys.argv[1]))
    families = defaultdict(list)
    for result in full:
        families[result["name"].rpartition("_w")[0]].append(result)
    lines = ["| networks | files | layers | exact | rounded | summed | mismatch |", "|---|---|---|---|---|---|---|"]
    lines += [row(name, found) for name, found in sorted(families.items())]
    lines.append(row("**full set**", full))
    held = [result for folder in sys.argv[2:] for result in results(Path(folder))]
    lines.append(row("**held out**: the same builders, other seeds", held))
    lines.append(row("**committed vectors**, one feature each", results(GOLDEN)))
    lines.append(row("**committed ONNX vectors**, one feature each", results(ONNX)))
    page = DOCS / "explanation" / "arithmetic.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
