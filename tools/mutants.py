"""Test the tests: change the arithmetic, the output stage and the mapping one operator at a time, and see who notices.

    python tools/mutants.py [PART ...] --sample 100

Works on a copy of the sources. Prints how many mutants the tests of each part kill, and the difference of each
survivor: a test that is missing, or code that makes no difference. Ends with 1 where a part kills less than
``--at-least``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))
PARTS = {
    "arithmetic": (
        "src/spica/semantics/primitives.py",
        "tests/engine/test_engine.py tests/frontends/test_conformance.py tests/network/test_old_files.py",
    ),
    "epilogue": (
        "src/spica/layers/epilogue.py",
        "tests/engine/test_engine.py tests/frontends/test_conformance.py tests/network tests/quantization",
    ),
    "mapping": (
        "src/spica/hardware/mapping",
        "tests/hardware/test_placement.py tests/hardware/test_mapping.py tests/hardware/test_cost.py",
    ),
}
"""What is changed, and the tests that should see it."""

CONFIG = """[cosmic-ray]
module-path = "{module}"
timeout = 120.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider -p no:cov {tests}"
[cosmic-ray.distributor]
name = "local"
"""


def study(part: str, sample: int, seed: int) -> tuple[int, int, str]:
    """Return how many mutants of a part were killed, of how many, and the differences of the survivors."""
    module, tests = PARTS[part]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, Path(folder) / name)
        (Path(folder) / "config.toml").write_text(CONFIG.format(module=module, tests=tests, python=sys.executable))
        shutil.copy(ROOT / "pyproject.toml", folder)
        environment = {**os.environ, "PYTHONPATH": f"{folder}/src", "PYTHONDONTWRITEBYTECODE": "1"}

        def cosmic_ray(command: str, *arguments: str) -> str:
            line = [SCRIPTS / command, *arguments]
            return subprocess.run(
                line, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        cosmic_ray("cosmic-ray", "baseline", "config.toml")
        cosmic_ray("cosmic-ray", "init", "config.toml", "session.sqlite")
        with sqlite3.connect(Path(folder) / "session.sqlite") as session:
            jobs = sorted(job for (job,) in session.execute("select job_id from work_items"))
            random.Random(seed).shuffle(jobs)
            for table in ("mutation_specs", "work_items"):
                session.executemany(f"delete from {table} where job_id = ?", [(job,) for job in jobs[sample:]])
        cosmic_ray("cosmic-ray", "exec", "config.toml", "session.sqlite")
        with sqlite3.connect(Path(folder) / "session.sqlite") as session:
            outcomes = [outcome for (outcome,) in session.execute("select test_outcome from work_results")]
        survivors = cosmic_ray("cr-report", "--show-diff", "--surviving-only", "session.sqlite")
    killed = sum("KILLED" in str(outcome).upper() for outcome in outcomes)
    return killed, len(outcomes), survivors


def main() -> int:
    """Study the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="what to change; all by default")
    parser.add_argument("--sample", type=int, default=100, help="mutants of each part, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-least", type=float, default=0, help="share that must be killed, 0 to 1")
    chosen = parser.parse_args()
    scores = {}
    for part in chosen.part or PARTS:
        killed, count, survivors = study(part, chosen.sample, chosen.seed)
        scores[part] = killed / count
        print(f"{survivors}\n{part}: {killed} of {count} mutants killed ({scores[part]:.0%})", flush=True)
    return int(min(scores.values()) < chosen.at_least)


if __name__ == "__main__":
    sys.exit(main())
