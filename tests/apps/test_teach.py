"""The page where a person teaches: what its server answers, and the page itself in a real browser."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading

import numpy as np
import pytest

import spica
from spica.apps.teach import Lesson, serve
from spica.errors import SpicaError
from support.edge_network import edge_network


def stroke(down):
    """A thick line down, or across."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 12:16] = 255
    return (image if down else image.T).ravel().tolist()


@pytest.fixture
def page(tmp_path):
    """A running server; ``ask`` gives status and answer."""
    server = serve(Lesson(edge_network()), tmp_path / "saved.spica", port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request("GET" if data is None else "POST", path, data, headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    return reply.status, json.loads(text) if reply.headers.get_content_type() == "application/json" else text


def test_a_sign_is_taught_and_recognised(page, tmp_path):
    for name, down in (("wall", True), ("floor", False)):
        status, facts = ask(page, "/teach", {"pixels": stroke(down), "name": f" {name} "})
        assert status == 200 and facts["microjoules"] > 0 and facts["spikes"] > 0
    names = [c["name"] for c in ask(page, "/state")[1]["classes"]]
    assert names == ["0", "wall", "floor"]
    for name, down in (("wall", True), ("floor", False)):
        _, facts = ask(page, "/look", {"pixels": stroke(down)})
        assert names[int(np.argmax(facts["shares"]))] == name
    assert ask(page, "/save", {})[0] == 200
    again = Lesson(spica.load(tmp_path / "saved.spica"))
    assert again.names == names and again.taught == [0, 1, 1]
    _, facts = ask(page, "/look", {"pixels": stroke(True)})
    assert again.look(stroke(True))["shares"] == facts["shares"]


def test_a_class_is_forgotten(page):
    ask(page, "/teach", {"pixels": stroke(True), "name": "wall"})
    status, facts = ask(page, "/forget", {"name": "wall"})
    assert status == 200 and facts["classes"][1] == {"name": "wall", "taught": 0}
    assert ask(page, "/forget", {"name": "roof"}) == (400, {"error": "there is no class 'roof'"})


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/look", {"pixels": [1, 2]}, "784 whole numbers"),
        ("/look", {"pixels": [256] * 784}, "784 whole numbers"),
        ("/look", {"pixels": [0.5] * 784}, "784 whole numbers"),
        ("/look", {}, "784 whole numbers"),
        ("/teach", {"pixels": [0] * 784, "name": "  "}, "needs a name"),
        ("/teach", {"pixels": [0] * 784, "name": 7}, "needs a name"),
        ("/teach", [], "JSON object"),
        ("/look", b"{", "Expecting"),
        ("/look", b"", "1 to"),
    ],
)
def test_bad_requests_are_told_why(page, path, body, message):
    status, facts = ask(page, path, body)
    assert status == 400 and message in facts["error"]


def test_only_the_page_on_this_machine_may_ask(page):
    assert ask(page, "/")[0] == 200
    assert ask(page, "/elsewhere")[0] == 404
    assert ask(page, "/elsewhere", {})[0] == 404
    assert ask(page, "/", Host="attacker.example")[0] == 403
    assert ask(page, "/look", {"pixels": stroke(True)}, Host="attacker.example:80")[0] == 403
    assert ask(page, "/look", {"pixels": stroke(True)}, Content_Type="text/plain")[0] == 403


def test_networks_that_cannot_be_taught_are_refused(page):
    with pytest.raises(SpicaError, match="no learning layer"):
        Lesson(spica.Network(edge_network().layers[:3], ("flat",)))
    with pytest.raises(SpicaError, match="choose another with --port"):
        serve(Lesson(edge_network()), None, port=page.server_port)


@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium, chromedriver"
)
def test_the_page_in_a_browser(page, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    wait = WebDriverWait(driver, 30)
    found = {name: lambda name=name: driver.find_element(By.ID, name) for name in ("paper", "name", "note", "answer")}

    def draw(down):
        driver.find_element(By.ID, "clear").click()
        start, way = ((0, -90), (0, 180)) if down else ((-90, 0), (180, 0))
        chain = ActionChains(driver).move_to_element_with_offset(found["paper"](), *start).click_and_hold()
        chain.move_by_offset(*way).release().perform()
        wait.until(lambda _: "seen in" in found["note"]().text)

    def teach(name):
        found["name"]().clear()
        found["name"]().send_keys(name)
        driver.find_element(By.ID, "teach").click()
        wait.until(lambda _: "learned in" in found["note"]().text)

    try:
        driver.get(f"http://127.0.0.1:{page.server_port}/")
        wait.until(lambda _: len(driver.find_elements(By.CLASS_NAME, "class")) == 1)
        for down, name in ((True, "wall"), (False, "floor")):
            draw(down)
            teach(name)
        for down, name in ((True, "wall"), (False, "floor"), (True, "wall")):
            draw(down)
            assert found["answer"]().text == name
        driver.find_element(By.ID, "clear").click()
        driver.find_element(By.ID, "teach").click()
        wait.until(lambda _: found["note"]().text == "draw the sign first")
        driver.find_element(By.ID, "save").click()
        wait.until(lambda _: "saved to" in found["note"]().text)
        assert Lesson(spica.load(tmp_path / "saved.spica")).names == ["0", "wall", "floor"]
        assert not [entry for entry in driver.get_log("browser") if "favicon" not in entry["message"]]
    finally:
        driver.quit()


def test_a_silent_connection_holds_nobody_up_and_nesting_is_refused(page):
    with socket.create_connection(("127.0.0.1", page.server_port)):
        status, facts = ask(page, "/state")
        assert status == 200 and facts["classes"]
    assert ask(page, "/look", b"[" * 100_000)[0] == 400
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=30)
    connection.request("GET", "/")
    headers = connection.getresponse().headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_page_has_room_for_so_many_classes(page, monkeypatch):
    monkeypatch.setattr("spica.apps.teach.lesson.MOST_CLASSES", 1)
    status, answer = ask(page, "/teach", {"pixels": stroke(True), "name": "another"})
    assert status == 400 and "as many as the page shows" in answer["error"]
