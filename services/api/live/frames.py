"""Messages of a stream of server-sent events as bytes (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import random
from typing import Final

import orjson

from services.api.live.places import Place

MEDIA_TYPE: Final = b"text/event-stream; charset=utf-8"

_RETRY_MILLISECONDS: Final = (1000, 3000)

HEARTBEAT: Final = b": still here\n\n"
"""A comment that keeps proxies from taking a quiet stream for a dead one."""


def preface() -> bytes:
    """Begins every stream: after how long a reader who is cut off comes back. Not all at once when a process ends."""
    return b"retry: %d\n\n" % random.randint(*_RETRY_MILLISECONDS)


def message(event: str, body: bytes, place: Place | None = None) -> bytes:
    """One message; `body` is compact JSON, so it has no line breaks. Without a place the reader's stays as it was."""
    head = b"" if place is None else b"id: %s\n" % str(place).encode()
    return b"%sevent: %s\ndata: %s\n\n" % (head, event.encode(), body)


def end(reason: str, place: Place | None) -> bytes:
    """The story is over: there will be nothing more, and no need to come back."""
    return message("end", orjson.dumps({"reason": reason}), place)


def closing(reason: str) -> bytes:
    """This stream is over, the story is not: come back with the last id."""
    return message("closing", orjson.dumps({"reason": reason}))
