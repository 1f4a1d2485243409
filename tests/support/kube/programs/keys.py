"""What the programs of a provider have in common: keys that change while they run, and a line of JSON about each request."""

import http.server
import json
import os
import pathlib
import sys
from typing import Any

KEYS = pathlib.Path(os.environ.get("KEYS_FILE", "/documents/keys.json"))
"""What is good now, by names that may be told."""


def known() -> dict[str, Any]:
    """The keys; none before somebody has written them."""
    found: dict[str, Any] = json.loads(KEYS.read_text(encoding="utf-8")) if KEYS.exists() else {}
    return found


class Provider(http.server.BaseHTTPRequestHandler):
    """One connection of a customer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def content(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, content: bytes = b"", *, key: str | None, **headers: str) -> None:
        """Answer, and write down to whom: the name of his key, or None for one that is not good."""
        say(json.dumps({"key": key, "status": status, "method": self.command}))
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing beside that."""


def say(line: str) -> None:
    """A line of the log, in one piece: there are several threads."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve(kind: type[Provider]) -> None:
    """Serve on PORT until the end; the first line of the log says where."""
    server = http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), kind)
    say(f"serving on {server.server_port}")
    server.serve_forever()
