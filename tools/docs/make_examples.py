"""Runs the examples and puts what their code prints below it: ``python tools/docs/make_examples.py``."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "tutorials"
STEP = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n.*?```", re.DOTALL)


def run(text: str) -> str:
    """The page with the output of its blocks, which share their names."""
    names: dict = {"__name__": "example"}

    def printed(step: re.Match) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(step["code"], "example", "exec"), names)
        lines = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
        return f"```python\n{step['code']}```\n\n```text\n{lines}\n```"

    return STEP.sub(printed, text)


def main() -> None:
    for page in sorted(EXAMPLES.glob("*.md")):
        text, here = page.read_text(), Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                made = run(text)
            finally:
                os.chdir(here)
        page.write_text(made)


if __name__ == "__main__":
    main()
