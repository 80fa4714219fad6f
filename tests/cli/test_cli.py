"""The command line: facts as JSON, one-line errors with exit code 2, and the demo from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spica
from spica.cli.output import emit
from spica.data import load_digits
from spica.zoo.builders.digits import build_digit_classifier
from spica.zoo.recipes.digits import shifted
from support.command_line import call
from support.edge_network import edge_network


@pytest.fixture(scope="module")
def files(tmp_path_factory, keras):
    """A float model, its 4-bit network and some digits, on disk."""
    folder = tmp_path_factory.mktemp("cli")
    digits = load_digits()
    model = build_digit_classifier()
    model.save(folder / "digits.keras")
    np.save(folder / "x.npy", digits.test_x[:40])
    np.save(folder / "y.npy", digits.test_y[:40])
    spica.quantize(spica.from_keras(model), digits.test_x[:40], weights=4, activations=4).save(folder / "digits.spica")
    return folder


def test_quantize_takes_a_keras_file(files, monkeypatch, capsys):
    arguments = [files / "digits.keras", "--samples", files / "x.npy", "--weights", 4, "--activations", 4]
    code, out, _ = call(monkeypatch, capsys, "quantize", *arguments, "-o", files / "again.spica", "--json")
    assert code == 0
    assert json.loads(out)["weights"] == 4
    x = np.load(files / "x.npy")
    again, known = spica.load(files / "again.spica"), spica.load(files / "digits.spica")
    np.testing.assert_array_equal(again.forward(x), known.forward(x))


def test_run_and_evaluate_agree_with_python(files, monkeypatch, capsys):
    net, x, y = spica.load(files / "digits.spica"), np.load(files / "x.npy"), np.load(files / "y.npy")
    assert (
        call(monkeypatch, capsys, "run", files / "digits.spica", "--samples", files / "x.npy", "-o", files / "out.npy")[
            0
        ]
        == 0
    )
    np.testing.assert_array_equal(np.load(files / "out.npy"), net.forward(x))
    arguments = [files / "digits.spica", "--samples", files / "x.npy", "--labels", files / "y.npy"]
    code, out, _ = call(monkeypatch, capsys, "evaluate", *arguments, "--engine", "reference", "--json")
    assert (code, json.loads(out)) == (0, {"accuracy": net.evaluate(x, y), "samples": 40})


def test_summary_devices_check_and_map(files, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "summary", files / "digits.spica")
    assert code == 0 and "SeparableConv2D" in out
    code, out, _ = call(monkeypatch, capsys, "devices", "--json")
    assert code == 0 and json.loads(out)["AKD1000"]["nps"] == 80
    code, out, _ = call(monkeypatch, capsys, "check", files / "digits.spica", "--device", "AKD1000")
    assert code == 0 and "keeps every rule" in out
    code, out, _ = call(monkeypatch, capsys, "map", files / "digits.spica", "--samples", files / "x.npy", "--json")
    assert code == 0 and json.loads(out)["nps"] == 4


def test_import_takes_files_of_other_tools(files, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "import", files / "digits.keras", "-o", files / "float.spica", "--json")
    facts = json.loads(out)
    assert code == 0 and not facts["integer"] and len(spica.load(files / "float.spica")) == facts["layers"]
    code, text, _ = call(monkeypatch, capsys, "summary", files / "digits.keras")
    assert code == 0 and "float network" in text


def test_check_exits_with_1_where_rules_are_broken(files, monkeypatch, capsys):
    eight = spica.quantize(spica.from_keras(build_digit_classifier()), np.load(files / "x.npy"))
    eight.save(files / "eight.spica")
    code, out, _ = call(monkeypatch, capsys, "check", files / "eight.spica", "--json")
    facts = json.loads(out)
    assert code == 1 and not facts["ok"] and facts["findings"]
    code, out, _ = call(monkeypatch, capsys, "check", files / "eight.spica")
    assert code == 1 and "--fix changes none of these" in out and "spica.split cannot leave the rest" in out
    code, out, _ = call(monkeypatch, capsys, "check", files / "eight.spica", "--device", "AKIDA2-6")
    assert "--fix" in out and "% of its multiply-accumulates on AKIDA2-6" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "{}/absent.spica"], "absent.spica: cannot be read"),
        (["check", "{}/x.npy"], "x.npy: is an array of numpy, not a .spica file"),
        (["check", "{}/digits.spica", "--device", "AKD9000"], "AKD9000"),
        (["run", "{}/digits.spica", "--samples", "{}/absent.npy", "-o", "{}/o.npy"], "absent.npy: cannot be read"),
        (["run", "{}/digits.spica", "--samples", "{}/digits.spica", "-o", "{}/o.npy"], "is not a .npy or .npz file"),
        (["run", "{}/digits.spica", "--samples", "{}/y.npy", "-o", "{}/o.npy"], "samples have shape"),
        (["run", "{}/digits.spica", "--samples", "{}/x.npy", "-o", "{}/none/o.npy"], "cannot be written"),
        (
            ["run", "{}/digits.spica", "--samples", "{}/x.npy", "-o", "{}/o.npy", "--engine", "gpu"],
            "engine 'gpu' is unknown",
        ),
        (["quantize", "{}/absent.keras", "--samples", "{}/x.npy", "-o", "{}/o.spica"], "absent.keras: cannot be read"),
        (["quantize", "{}/digits.keras", "--samples", "{}/x.npy", "-o", "{}/o.spica", "--weights", "5"], "weights=5"),
        (["check", "{}/digits.spica", "-d", "AKD1000", "-d", "AKD1500"], "--device is given 2 times; give it once"),
        (["map", "{}/digits.spica", "--samples", "{}/x.npy", "--density", "0.1"], "--density changes nothing where"),
        (
            ["quantize", "{}/digits.keras", "--samples", "{}/x.npy", "-o", "{}/o.spica", "--device", "AKD1500"],
            "--device changes nothing without --budget",
        ),
        (["evaluate", "{}/digits.spica", "--samples", "{}/x.npy", "--labels", "{}/x.npy"], "labels have shape"),
        (["explore", "{}/digits.spica", "--vary", "nodes=1,2", "--workers", "-1"], "workers is -1"),
        (["explore", "{}/digits.spica", "--vary", "nodes=1", "--address", "nonsense"], "nonsense"),
        (["bench", "{}/digits.spica", "--batch", "99999999999999999999"], "batch is 99999999999999999999"),
        (["demo", "--epochs", "0", "--out", "{}/demo"], "epochs is 0"),
        (["demo", "--out", "{}/x.npy"], "cannot be made"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_and_exit_code_2(files, monkeypatch, capsys, arguments, message):
    code, out, err = call(monkeypatch, capsys, *(a.format(files) for a in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1 and "Traceback" not in err and not out


def test_the_demo_says_what_it_promises(tmp_path, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "demo", "--epochs", 1, "--out", tmp_path / "demo", "--json")
    facts = json.loads(out)
    assert code == 0
    wanted = {
        "float_accuracy",
        "accuracy_8bit",
        "accuracy_4bit",
        "accuracy_chip",
        "test_samples",
        "sparsity",
        "nps",
        "fps",
        "power_mw",
        "energy_uj",
        "seconds",
    }
    assert wanted <= set(facts)
    assert facts["accuracy_chip"] == facts["accuracy_4bit"] > 0.9
    page = Path(facts["files"]["page"]).read_text()
    assert "<svg" in page and "modelled" in page
    assert "<script" not in page and "src=" not in page
    net, digits = spica.load(facts["files"]["network"]), load_digits()
    assert net.evaluate(digits.test_x, digits.test_y) == facts["accuracy_4bit"]


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("spica")
    result = subprocess.run([script, "summary", "absent.spica"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "spica: absent.spica: cannot be read (No such file or directory); check the path\n"


def test_digits_are_split_without_overlap():
    digits = load_digits()
    assert digits.train_x.shape == (8000, 28, 28, 1) and digits.test_x.shape == (2000, 28, 28, 1)
    train = {image.tobytes() for image in digits.train_x}
    assert sum(image.tobytes() in train for image in digits.test_x) == 0
    assert (np.bincount(digits.test_y) > 150).all()
    with pytest.raises(spica.SpicaError, match="hold out between 1 and 9999"):
        load_digits(test=10_000)


def test_shifts_move_images_and_lose_nothing_inside():
    x = np.zeros((50, 8, 8, 1), np.uint8)
    x[:, 4, 4] = 9
    moved = shifted(x, np.random.default_rng(0))
    assert (moved.sum(axis=(1, 2, 3)) == 9).all()
    rows, columns = np.nonzero(moved[..., 0])[1:]
    assert set(rows) == set(columns) == {2, 3, 4, 5, 6}


def test_the_demo_of_learning_says_what_it_promises(tmp_path, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "demo", "learning", "--epochs", 1, "--out", tmp_path / "demo", "--json")
    facts = json.loads(out)
    assert code == 0 and len(facts["by_picture"]) == facts["pictures"] + 1
    assert facts["new_before"] < 0.05 < 0.3 < facts["new_after"]
    assert facts["old_after"] > facts["old_before"] - 0.05
    assert facts["learning_uj"] > facts["inference_uj"] > 0
    assert all(Path(path).stat().st_size > 1000 for path in facts["files"].values())
    assert spica.learn(spica.load(facts["files"]["network"])).classes == 10


def test_teach_serves_the_page_until_it_is_interrupted(tmp_path, monkeypatch, capsys):
    from http.server import HTTPServer

    edge_network().save(tmp_path / "net.spica")
    monkeypatch.setattr(HTTPServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    code, out, _ = call(monkeypatch, capsys, "teach", tmp_path / "net.spica", "--port", 0, "--no-browse")
    assert code == 130 and out.startswith("http://127.0.0.1:")


def test_the_demo_of_streaming_says_what_it_promises(tmp_path, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "demo", "stream", "--epochs", 2, "--out", tmp_path / "demo", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["right"] <= facts["digits"] == len(facts["seen"])
    assert facts["accuracy_8bit"] > 0.5 and facts["right"] > 0.4 * facts["digits"]
    assert 0 < facts["quiet_mw"] < facts["busy_mw"] / 2
    assert facts["engine_empty_frame_us"] < facts["engine_frame_us"]
    assert spica.load(facts["files"]["network"])["temporal"].frames == 5


def test_json_has_no_nan_and_terminals_get_no_control_characters(capsys):
    emit({"a": float("nan"), "b": [float("inf"), 1.5], "c": "\x1b[31m"}, "", True)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "a": None,
        "b": [None, 1.5],
        "c": "\x1b[31m",
    }
    emit({}, "name \x1b]0;owned\x07\ud800\nsecond line", False)
    assert capsys.readouterr().out == "name \\x1b]0;owned\\x07\\ud800\nsecond line\n"


def test_a_full_disk_and_a_narrow_terminal_end_in_words(files):
    command = [sys.executable, "-c", "from spica.cli.main import run; run()", "summary", str(files / "digits.spica")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "latin-1"}
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "spica: the output cannot be written (No space left on device)\n"
