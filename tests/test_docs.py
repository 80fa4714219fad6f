"""Documents say what is true: their code runs, and their figures are those that scripts made."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spica.cli.main import app
from support.chip_networks import conv, dense, flatten, network, separable

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def code_blocks():
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if page.parent.name == "tutorials":  # whose blocks go on where the last one stopped
            blocks = ["\n".join(blocks)]
        for number, code in enumerate(blocks):
            yield pytest.param(code, id=f"{page.name}-{number}")


@pytest.mark.parametrize("code", list(code_blocks()))
def test_python_in_documents_runs(code, keras, tmp_path, monkeypatch, capsys):
    if "import torch" in code:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "document", "exec"), {"__name__": "document"})


def commands():
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                if line.startswith("spica "):
                    yield pytest.param(shlex.split(line, comments=True)[1:], id=line.partition("#")[0].strip())


@pytest.mark.parametrize("arguments", list(commands()))
def test_commands_in_documents_run(arguments, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    network((16, 16, 3), conv(8), conv(8), separable(8), flatten(), dense(4)).save("net.spica")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 or (arguments[0] == "check" and result.exit_code == 1), result.output


def test_figures_of_the_readme_are_those_of_the_demo(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools" / "docs")
    import make_demo

    facts = json.loads((ROOT / "docs" / "results" / "demo.json").read_text())
    assert make_demo.README.read_text() == make_demo.readme_with(facts)
    sys.modules.pop("make_demo")


MAKERS = ["hardware_model", "engine", "accuracy", "learning", "temporal", "vision", "networks"]


@pytest.mark.parametrize("name", MAKERS)
def test_pages_hold_their_results(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools" / "docs")
    maker = importlib.import_module(f"make_{name}")
    assert maker.PAGE.read_text() == maker.page()


def test_links_between_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
