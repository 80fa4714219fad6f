"""The page's server, on this machine alone: no request from elsewhere, and nothing loaded from elsewhere."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from spica.apps.teach.lesson import Lesson
from spica.errors import SpicaError

LOOPBACK = "127.0.0.1"
LARGEST_REQUEST = 1 << 20


def serve(lesson: Lesson, path: Path, port: int = 8000) -> HTTPServer:
    """A server of ``lesson`` on loopback, for ``serve_forever``; the page's button saves to ``path``.

    Args:
        port: 0 takes any that is free; ``server_port`` tells.

    Raises:
        SpicaError: where the port is taken.
    """
    actions = {
        "/look": lambda asked: lesson.look(asked.get("pixels")),
        "/teach": lambda asked: lesson.teach(asked.get("pixels"), asked.get("name")),
        "/forget": lambda asked: lesson.forget(asked.get("name")),
        "/save": lambda asked: lesson.save(path),
    }
    page = resources.files("spica.apps.teach").joinpath("page.html").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self._is_local():
                self._answer(HTTPStatus.FORBIDDEN, {"error": "only this machine may ask"})
            elif self.path == "/":
                self._send(HTTPStatus.OK, page, "text/html; charset=utf-8")
            elif self.path == "/state":
                self._answer(HTTPStatus.OK, lesson.state())
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            # A page of another origin cannot send this type without being asked first, which is never answered.
            if not self._is_local() or self.headers.get_content_type() != "application/json":
                self._answer(HTTPStatus.FORBIDDEN, {"error": "only the page itself may ask"})
            elif self.path not in actions:
                self._answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})
            elif not 0 < size <= LARGEST_REQUEST:
                self._answer(HTTPStatus.BAD_REQUEST, {"error": f"a request has 1 to {LARGEST_REQUEST} bytes"})
            else:
                try:
                    asked = json.loads(self.rfile.read(size))
                    if not isinstance(asked, dict):
                        raise SpicaError("a request is a JSON object")
                    self._answer(HTTPStatus.OK, actions[self.path](asked))
                except (SpicaError, ValueError) as error:
                    self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})

        def _is_local(self) -> bool:
            """Whether the page was opened by a name of this machine, and not by one that was made to point here."""
            return (self.headers.get("Host") or "").rsplit(":", 1)[0] in (LOOPBACK, "localhost")

        def _answer(self, status: HTTPStatus, facts: dict[str, Any]) -> None:
            self._send(status, json.dumps(facts).encode(), "application/json")

        def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not worth a line each."""

    try:
        return HTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise SpicaError(f"port {port}: {error.strerror}; choose another with --port") from None
