"""Runs the demo and puts its figures into the README: ``python tools/docs/make_demo.py``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from spica.hardware import two_digits

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
BEGIN, END = "<!-- made by tools/docs/make_demo.py -->\n", "<!-- end -->\n"


def table(facts: dict) -> str:
    """The demo's facts as the README's table."""

    def modelled(name: str) -> str:
        value, low, high = map(two_digits, facts["modelled"][name].values())
        return f"{value} ({low} to {high})"

    rows = [
        ("accuracy, float32 in Keras", f"{facts['float_accuracy']:.2%}"),
        ("accuracy, 8-bit weights and activations", f"{facts['accuracy_8bit']:.2%}"),
        ("accuracy, 4-bit weights and activations", f"{facts['accuracy_4bit']:.2%}"),
        (f"accuracy on the virtual {facts['device']}, the same integers", f"{facts['accuracy_chip']:.2%}"),
        ("zeros between layers, counted", f"{facts['sparsity']:.1%}"),
        ("neural processors in use", f"{facts['nps']} of 80"),
        ("rate of a stream, modelled (plausible range)", f"{modelled('fps')} a second"),
        ("power of the chip, modelled (plausible range)", f"{modelled('power_mw')} mW"),
        ("energy an inference, modelled (plausible range)", f"{modelled('energy_uj')} µJ"),
        ("time for all of it, training included", f"{facts['seconds']:.0f} s on 2 cores"),
    ]
    lines = [f"| {facts['test_samples']:,} held-out MNIST digits | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def readme_with(facts: dict) -> str:
    """The README's text with the table of ``facts`` in its place."""
    before, _, rest = README.read_text().partition(BEGIN)
    return before + BEGIN + table(facts) + END + rest.partition(END)[2]


def main() -> None:
    with tempfile.TemporaryDirectory() as out:
        command = [Path(sys.executable).with_name("spica"), "demo", "--json", "--out", out]
        facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        (DOCS / "images" / "demo.png").write_bytes((Path(out) / "overview.png").read_bytes())
    del facts["files"]
    (DOCS / "results" / "demo.json").write_text(json.dumps(facts, indent=2) + "\n")
    README.write_text(readme_with(facts))


if __name__ == "__main__":
    main()
