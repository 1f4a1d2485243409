"""Runs in a pod: takes webhooks on PORT and writes down what came, a line of JSON each."""

import base64
import http.server
import json
import os
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Write it down, and accept it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        say(json.dumps({"headers": headers, "body": base64.b64encode(body).decode()}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing beside that."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # in one piece: there are several threads
    sys.stdout.flush()


say("receiving")
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Receiver).serve_forever()
