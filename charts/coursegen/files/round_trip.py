"""A course through the whole installation: api, outbox, relay, queue, worker, database."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

import jwt

API = os.environ["API_URL"]
DEADLINE = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])


def token():
    """A token for a user and an organisation that are nobody else's, good for a quarter of an hour."""
    now = int(time.time())
    claims = {
        "sub": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 900,
        "user_metadata": {"tier": "PREMIUM"},
        "app_metadata": {"organization_id": str(uuid.uuid4())},
    }
    for claim, variable in (("aud", "JWT_AUDIENCE"), ("iss", "JWT_ISSUER")):
        if os.environ.get(variable):
            claims[claim] = os.environ[variable]
    return jwt.encode(claims, os.environ["JWT_SECRET"], algorithm="HS256")


def call(bearer, method, path, body=None):
    """The JSON that the api answers; tries again while it is busy or away."""
    request = urllib.request.Request(
        API + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"},
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except (urllib.error.URLError, TimeoutError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            if refused or time.monotonic() > DEADLINE:
                sys.exit(f"{method} {path}: {error} {error.read() if refused else ''}")
            time.sleep(1)


def main():
    bearer = token()
    course = str(uuid.uuid4())
    call(bearer, "POST", "/api/trpc/generation.initiate", {"courseId": course, "title": "helm test", "hasFiles": False})
    state = None
    while time.monotonic() < DEADLINE:
        seen = call(bearer, "GET", f"/api/courses/{course}/check-status")["generation_status"]
        if seen != state:
            state = seen
            print(state, flush=True)
        if state in {"completed", "failed", "cancelled"}:
            break
        time.sleep(0.5)
    call(bearer, "DELETE", f"/api/courses/{course}")
    if state != "completed":
        sys.exit(f"the course is {state} and not completed; look at the logs of api, outbox-relay and workers")


main()
