"""Facts from a folder, as scripts/verify-deployment.sh leaves them: one file for each, by how it is to be read.

::

    NAME.json    the answer of a statement
    NAME.info    the answer of redis-cli INFO
    NAME.config  the answer of redis-cli CONFIG GET
    NAME.owner   the number of a database of Redis, then the name in it, or nothing
    NAME.http    status and seconds in the first line, then the body
    NAME.fault   why there is no answer
    NAME.missing the program that would have to ask
    pod.facts    several at once, as `collecting` writes them in a pod
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from services.cli.verification.facts import Json

_FAULT_LENGTH = 300


def read(folder: Path) -> dict[str, Json]:
    """The facts by name; what cannot be read is a fault in words."""
    found: dict[str, Json] = {}
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.name == "pod.facts":
            found = {**_pod(text), **found}
        elif path.suffix in _FORMS:
            found[path.stem] = _FORMS[path.suffix](text)
    return found


def _pod(text: str) -> dict[str, Json]:
    try:
        facts: dict[str, Json] = json.loads(text)
    except ValueError:
        return {}
    return facts


def _json(text: str) -> Json:
    try:
        return {"value": json.loads(text)}
    except ValueError:
        return _fault(text)


def _info(text: str) -> Json:
    lines = (line.strip().partition(":") for line in text.splitlines() if not line.startswith("#"))
    value = {name: figure for name, colon, figure in lines if colon}
    return {"value": value} if "redis_version" in value else _fault(text)


def _config(text: str) -> Json:
    lines = text.splitlines()
    value = {lines[place]: lines[place + 1] for place in range(0, len(lines) - 1, 2)}
    return {"value": value} if "appendonly" in value else _fault(text)


def _owner(text: str) -> Json:
    number, _, name = text.partition("\n")
    words = name.split()
    if not number.isdecimal() or len(words) > 1:  # an older redis-cli ends well also when it is refused
        return _fault(name)
    return {"value": {"number": int(number), "name": words[0] if words else None}}


def _http(text: str) -> Json:
    head, _, body = text.partition("\n")
    try:
        status, seconds = head.split()
        answer: Json = {"status": int(status), "seconds": float(seconds)}
    except ValueError:
        return _fault(text)
    try:
        answer["body"] = json.loads(body)
    except ValueError:
        answer["body"] = None
    return {"value": answer}


def _missing(text: str) -> Json:
    return {"missing": text.strip()}


def _fault(text: str) -> Json:
    words = " ".join(text.split())
    return {"fault": words[:_FAULT_LENGTH] or "it says nothing"}


_FORMS: dict[str, Callable[[str], Json]] = {
    ".json": _json,
    ".info": _info,
    ".config": _config,
    ".owner": _owner,
    ".http": _http,
    ".fault": _fault,
    ".missing": _missing,
}
