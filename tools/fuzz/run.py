"""Fuzz whatever Spica reads: ``make fuzz`` for minutes, ``make fuzz-long`` for hours.

    python tools/fuzz/run.py [TARGET ...] --seconds 30

Each target runs in a process of its own with coverage-guided, structure-aware mutation (``atheris``). A mutant is
refused with ``SpicaError``, or gives right and finite numbers, within 5 s of CPU and 2 GiB. Whatever does not is kept
in ``fuzz-found`` with its traceback, one file for each place in the code, and the command ends with 1. What is mended
becomes a test.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from targets import TARGETS

HERE = Path(__file__).resolve().parent


def fuzz(name: str, seconds: float, runs: int, found: Path, corpus: Path) -> int:
    """Fuzz one target for a time or a number of mutants, and return how many there were."""
    done, until = 0, time.monotonic() + seconds
    grown = corpus / name
    grown.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder) / "seeds"
        seeds.mkdir()
        while done < runs and (left := until - time.monotonic()) > 1:
            command = [sys.executable, HERE / "one.py", name, found, f"-max_total_time={int(left)}", "-max_len=262144"]
            command += [f"-runs={runs - done}", "-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]
            command += [f"-artifact_prefix={found}/{name}-", "-detect_leaks=0", grown, seeds]
            ended = subprocess.run(list(map(str, command)), cwd=folder, stderr=subprocess.PIPE, text=True)
            if ended.returncode == 1:  # not libFuzzer's: the harness itself
                sys.exit(ended.stderr[-4000:])
            counts = re.findall(r"number_of_executed_units: (\d+)|^#(\d+)\s", ended.stderr, re.M)
            done += max([int(a or b) for a, b in counts], default=1)
            if ended.returncode:  # a crash, a hang or memory: libFuzzer kept the mutant
                (found / f"{name}-process-{int(time.time())}.txt").write_text(ended.stderr[-20_000:])
    return done


def main() -> int:
    """Fuzz the targets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help="what to fuzz; all by default")
    parser.add_argument("--seconds", type=float, default=30, help="for each target")
    parser.add_argument("--runs", type=int, default=1 << 31, help="mutants of each target, at most")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"))
    chosen = parser.parse_args()
    found, corpus = chosen.found.resolve(), chosen.corpus.resolve()
    found.mkdir(exist_ok=True)
    before = len(list(found.glob("*.txt")))
    for name in chosen.target or TARGETS:
        count = fuzz(name, chosen.seconds, chosen.runs, found, corpus)
        print(f"{name:12} {count:8} mutants, {len(list(found.glob(f'{name}-*.txt'))):4} findings", flush=True)
    new = len(list(found.glob("*.txt"))) - before
    print(f"{new} new findings in {found}" if new else "nothing found")
    return bool(new)


if __name__ == "__main__":
    sys.exit(main())
