"""The page's server, on this machine alone: no request from elsewhere, and nothing loaded from elsewhere."""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

from spica.apps.teach.lesson import Lesson
from spica.errors import SpicaError, printable
from spica.util.arguments import check_integer

LOOPBACK = "127.0.0.1"
LARGEST_REQUEST = 1 << 20


def serve(lesson: Lesson, path: Path, port: int = 8000) -> HTTPServer:
    """Open a server of a lesson on loopback; call its ``serve_forever`` to run it.

    Args:
        lesson: what the page shows and teaches.
        path: the file that the page's button saves to.
        port: 0 takes any that is free; ``server_port`` tells which.

    Raises:
        SpicaError: where the port is taken.
    """
    port = check_integer("port", port, 0, 65535)
    try:
        return Server(lesson, path, port)
    except OSError as error:
        raise SpicaError(f"port {port}: {error.strerror}; choose another with --port") from None


class Server(ThreadingHTTPServer):
    """An HTTP server that holds the lesson, the page, and what each address does."""

    def __init__(self, lesson: Lesson, path: Path, port: int) -> None:
        self.lesson, self.lock = lesson, threading.Lock()  # connections have a thread each, the lesson one at a time
        self.page = resources.files("spica.apps.teach").joinpath("page.html").read_bytes()
        self.actions = {
            "/look": lambda asked: lesson.look(asked.get("pixels")),
            "/teach": lambda asked: lesson.teach(asked.get("pixels"), asked.get("name")),
            "/forget": lambda asked: lesson.forget(asked.get("name")),
            "/save": lambda asked: lesson.save(path),
        }
        super().__init__((LOOPBACK, port), Handler)


class Handler(BaseHTTPRequestHandler):
    """Answers requests of the page."""

    server: Server
    timeout = 10  # seconds that a connection may say nothing

    def do_GET(self) -> None:
        """Send the page, or the lesson's state."""
        if not self._is_local():
            self._answer(HTTPStatus.FORBIDDEN, {"error": "only this machine may ask"})
        elif self.path == "/":
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif self.path == "/state":
            with self.server.lock:
                state = self.server.lesson.state()
            self._answer(HTTPStatus.OK, state)
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})

    def do_POST(self) -> None:
        """Do what the page asks for, and send the result."""
        length = self.headers.get("Content-Length") or ""
        size = int(length) if length.isascii() and length.isdecimal() and len(length) < 10 else 0
        # A page of another origin cannot send this type without being asked first, which is never answered.
        if not self._is_local() or self.headers.get_content_type() != "application/json":
            self._answer(HTTPStatus.FORBIDDEN, {"error": "only the page itself may ask"})
        elif self.path not in self.server.actions:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})
        elif not 0 < size <= LARGEST_REQUEST:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": f"a request has 1 to {LARGEST_REQUEST} bytes"})
        else:
            try:
                asked = json.loads(self.rfile.read(size))
                if not isinstance(asked, dict):
                    raise SpicaError("a request is a JSON object")
                with self.server.lock:
                    facts = self.server.actions[self.path](asked)
                self._answer(HTTPStatus.OK, facts)
            except (SpicaError, ValueError, RecursionError) as error:
                self._answer(HTTPStatus.BAD_REQUEST, {"error": printable(str(error))})

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: requests are not worth a line each."""

    def _is_local(self) -> bool:
        """Return whether the page was opened by a name of this machine, not by one made to point here."""
        return (self.headers.get("Host") or "").rsplit(":", 1)[0] in (LOOPBACK, "localhost")

    def _answer(self, status: HTTPStatus, facts: dict[str, Any]) -> None:
        self._send(status, json.dumps(facts).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)
