"""A webhook on this machine that records what it is sent, fails, or never answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """Its address for `notify.to`, and the messages that it was sent."""

    address: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@contextmanager
def webhook(status: int = 200, answers: bool = True) -> Iterator[Webhook]:
    """Listens until it is left; one that does not answer keeps its callers until then."""
    hook, ended = Webhook(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.messages.append(json.loads(body))
            if not answers:
                ended.wait()
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.address = f"json://127.0.0.1:{server.server_port}/hook"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield hook
    finally:
        ended.set()
        server.shutdown()
        serving.join()
        server.server_close()
