"""Holds the demo's JSON, read from standard input, to what the project promises of it."""

import json
import sys

facts = json.load(sys.stdin)
float_accuracy = facts["float_accuracy"]
promises = {
    "float accuracy is at least 98.5 %": float_accuracy >= 0.985,
    "8-bit is within 0.3 points of float": facts["accuracy_8bit"] >= float_accuracy - 0.003,
    "4-bit is within 1.5 points of float": facts["accuracy_4bit"] >= float_accuracy - 0.015,
    "on the chip equals 4-bit": facts["accuracy_chip"] == facts["accuracy_4bit"],
}
print(json.dumps({k: v for k, v in facts.items() if not isinstance(v, dict)}, indent=2))
for promise, holds in promises.items():
    print(f"{'holds' if holds else 'BROKEN'}: {promise}")
sys.exit(not all(promises.values()))
