"""What the test programs share: tokens of their own, a caller of the api, and one line for each verdict."""

import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

import jwt

API = os.environ["API_URL"]
SECONDS = float(os.environ["TIMEOUT_SECONDS"])
DEADLINE = time.monotonic() + SECONDS
KEEP = os.environ.get("KEEP_COURSES") == "true"
CLOSED = {"completed", "error", "cancelled"}

failures = 0


class Refused(Exception):
    """The api said no, and would say so again."""


class Caller:
    """Somebody with a token that is good for a quarter of an hour; by default a user whom nobody else is."""

    def __init__(self, role=None):
        now = int(time.time())
        self.user = str(uuid.uuid4())
        claims = {
            "sub": self.user,
            "iat": now,
            "exp": now + 900,
            "user_metadata": {"tier": "PREMIUM"},
            "app_metadata": {"organization_id": str(uuid.uuid4()), **({} if role is None else {"role": role})},
        }
        for claim, variable in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER")):
            if os.environ.get(variable):
                claims[claim] = os.environ[variable]
        self._bearer = jwt.encode(claims, os.environ["JWT_SECRET"], algorithm="HS256")

    def ask(self, method, path, body=None):
        """What the api answers, as text; asked once."""
        request = urllib.request.Request(
            API + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._bearer}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def say(self, method, path, body=None):
        """What the api answers, as text; asked again while it is busy or away."""
        while True:
            try:
                return self.ask(method, path, body)
            except OSError as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
                if refused or time.monotonic() > DEADLINE:
                    said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                    raise Refused(f"{method} {path}: {error} {said}") from error
                time.sleep(1)

    def call(self, method, path, body=None):
        """The JSON that the api answers; asked again while it is busy or away."""
        text = self.say(method, path, body)
        return json.loads(text) if text else None


def metrics(caller):
    """All numbers that the api shows."""
    return caller.call("GET", "/api/trpc/metrics.getAll")


def depth(caller):
    """Rows of the outbox that are not processed, as of a second ago at most; ten while very many wait."""
    return caller.call("GET", "/api/health/outbox")["queueDepth"]


def until(seconds, settled):
    """Ask again and again until it is so, and say whether it was."""
    return answer(seconds, settled, bool)[1]


def answer(seconds, ask, settled):
    """Ask again and again until the answer is as it should be; the last one, and whether it is.

    What it is judged by is this very answer: each api looks at its numbers now and then, and the next one asked may have
    looked before.
    """
    limit = min(time.monotonic() + seconds, DEADLINE)
    while not settled(said := ask()):
        if time.monotonic() > limit:
            return said, False
        time.sleep(0.25)
    return said, True


def check(text, holds, seen=""):
    """Print one verdict."""
    global failures  # noqa: PLW0603 - the one count of a program of a page
    failures += not holds
    print(f"  {'pass' if holds else 'FAIL'}  {text}{f' ({seen})' if seen != '' else ''}", flush=True)


def finish(name):
    """End with the verdict of all."""
    print(f"{name}: {'passed' if not failures else f'{failures} checks failed'}", flush=True)
    sys.exit(1 if failures else 0)


def delete(caller, courses):
    """Leave nothing behind."""
    for course in courses:
        with contextlib.suppress(Refused):
            caller.call("DELETE", f"/api/courses/{course}")
