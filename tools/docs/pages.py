"""What the scripts that put figures into pages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Row = tuple[str, ...]


def markdown(head: Row, rows: Sequence[Row]) -> str:
    """A table; the first column to the left."""
    lines = [head, (":--", *["--:"] * (len(head) - 1)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(page: Path, sections: Mapping[str, Callable[[], str]]) -> str:
    """The page with each section's text between ``<!-- name -->`` and ``<!-- end of name -->``."""
    text = page.read_text()
    for name, make in sections.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        text = before + begin + make() + "\n" + end + rest.partition(end)[2]
    return text
