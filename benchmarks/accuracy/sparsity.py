"""What silencing events costs in accuracy and saves in energy: ``python sparsity.py --out results/sparsity.json``.

The digits' classifier is fine-tuned with 4-bit weights and activations under losses on activity of growing strength.
Events are counted; energy and latency on an AKD1000 are the hardware model's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

import spica
from spica.data import load_digits
from spica.zoo.recipes.digits import train_digit_classifier

STRENGTHS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
DEVICE = "AKD1000"
METERED = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sparsity.json")
    options = parser.parse_args()
    data = load_digits()
    net = spica.from_keras(train_digit_classifier(data))
    quantized = spica.quantize(net, data.train_x[:1024], weights=4, activations=4)
    rows = []
    shown = Table("strength", "accuracy", "zeros", "events", "energy, uJ (modelled)", "latency, ms (modelled)")
    for strength in STRENGTHS:
        tuned = spica.finetune(
            quantized, data.train_x, data.train_y, net=net, epochs=5, learning_rate=2e-3, sparsity=strength
        )
        chip = spica.map(tuned, DEVICE)
        chip.forward(data.test_x[:METERED])
        s = chip.statistics
        rows.append(
            {
                "strength": strength,
                "accuracy": tuned.evaluate(data.test_x, data.test_y),
                "sparsity": s.sparsity,
                "events": s.events,
                "energy_uj": s.dynamic_energy_uj,
                "latency_ms": s.latency_ms,
            }
        )
        row = rows[-1]
        shown.add_row(
            f"{strength:g}",
            f"{row['accuracy']:.2%}",
            f"{row['sparsity']:.1%}",
            f"{row['events']:,.0f}",
            f"{row['energy_uj']:.1f}",
            f"{row['latency_ms']:.3f}",
        )
    Console().print(shown)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(
        json.dumps({"device": DEVICE, "float": net.evaluate(data.test_x, data.test_y), "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
