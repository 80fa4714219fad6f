"""Documents say what is true: their code runs, and their figures are those that scripts made."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chip_networks import conv, dense, flatten, network, separable
from spica.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def code_blocks():
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if page.parent.name == "examples":  # whose blocks go on where the last one stopped
            blocks = ["\n".join(blocks)]
        for number, code in enumerate(blocks):
            yield pytest.param(code, id=f"{page.name}-{number}")


@pytest.mark.parametrize("code", list(code_blocks()))
def test_python_in_documents_runs(code, keras, tmp_path, monkeypatch, capsys):
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
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_demo

    facts = json.loads((ROOT / "docs" / "demo.json").read_text())
    assert make_demo.README.read_text() == make_demo.readme_with(facts)
    sys.modules.pop("make_demo")


def test_the_hardware_models_page_holds_its_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_hardware_model

    assert make_hardware_model.PAGE.read_text() == make_hardware_model.page_with_results()
    sys.modules.pop("make_hardware_model")


def test_the_engines_page_holds_its_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_engine

    assert make_engine.PAGE.read_text() == make_engine.page()
    sys.modules.pop("make_engine")


def test_the_page_on_quantization_holds_its_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_accuracy

    assert make_accuracy.PAGE.read_text() == make_accuracy.page()
    sys.modules.pop("make_accuracy")


def test_the_page_on_learning_holds_its_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_learning

    assert make_learning.PAGE.read_text() == make_learning.page()
    sys.modules.pop("make_learning")


def test_the_page_on_time_holds_its_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_temporal

    assert make_temporal.PAGE.read_text() == make_temporal.page()
    sys.modules.pop("make_temporal")


def test_the_page_on_vision_holds_its_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_vision

    assert make_vision.PAGE.read_text() == make_vision.page()
    sys.modules.pop("make_vision")


def test_links_between_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
