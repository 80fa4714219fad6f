"""Results as a self-contained HTML page: figures inline, no script, nothing loaded from anywhere."""

from __future__ import annotations

from html import escape
from os import PathLike
from typing import Any

from spica.report.figures import to_svg
from spica.util.files import write_atomically

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1100px; margin: 2rem auto; padding: 0 1rem }}
 svg {{ width: 100%; height: auto }} pre {{ overflow-x: auto; font-size: 12px; background: #f8fafc; padding: 1rem }}
 dl {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem }}
 dt {{ color: #64748b; font-size: 12px }} dd {{ margin: 0; font-size: 20px }}
</style></head><body>
<h1>{title}</h1>
<dl>{facts}</dl>
{figure}
{sections}
<p><small>{note}</small></p>
</body></html>
"""


def write_page(
    path: str | PathLike[str], title: str, facts: dict[str, str], figure: Any, sections: dict[str, str], note: str
) -> None:
    """Write a page.

    Args:
        path: the file to write.
        title: its heading.
        facts: headline figures by name.
        figure: a matplotlib figure.
        sections: preformatted text by heading.
        note: small print at the end.

    Raises:
        SpicaError: where the folder does not exist or cannot be written.
    """
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    texts = "".join(f"<h2>{escape(name)}</h2><pre>{escape(text)}</pre>" for name, text in sections.items())
    html = PAGE.format(title=escape(title), facts=items, figure=to_svg(figure), sections=texts, note=escape(note))
    write_atomically(path, html.encode())
