"""Calling the command line from a test."""

from __future__ import annotations

import sys

from spica.cli import main


def call(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``spica`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["spica", *map(str, arguments)])
    try:
        main.run()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out, err
