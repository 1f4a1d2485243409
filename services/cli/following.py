"""The live stream of a course as the command follows it: through restarts and outages, every message once.

The api names each message; whoever was cut off comes back with the last name he got and misses nothing.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from services.cli.api_client import ApiClient, ApiUnreachable, StreamBroken

_LONGEST_PAUSE_SECONDS: Final = 2.0
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the stream: `state`, `progress`, `end` or `closing`."""

    event: str
    content: Any
    place: str | None
    """Its id, if it has one."""


class Following:
    """Follows one course."""

    def __init__(self, api: ApiClient, reference: str) -> None:
        """Open nothing yet.

        Args:
            api: whom to ask; also how long an outage may last.
            reference: the course's id or slug.
        """
        self._api = api
        self._path = f"/api/courses/{reference}/events"
        self._place: str | None = None
        self._pause = 0.2
        self._is_over = False

    async def messages(self) -> AsyncIterator[Message]:
        """Every message up to the end of the course's story, except those about the stream itself.

        Raises:
            ApiRefused: the course is not there, or not ours, or the token is no longer good.
            ApiUnreachable: nothing was heard for longer than the client's patience.
        """
        heard_at = time.monotonic()
        told = False
        while not self._is_over:
            trouble = "the stream ended"
            try:
                async for message in self._read():
                    heard_at, told = time.monotonic(), False
                    if message.event != "closing":
                        yield message
            except StreamBroken as error:
                trouble = error.message
                if time.monotonic() > heard_at + self._api.patience_seconds:
                    raise ApiUnreachable(
                        f"{self._api.url} does not answer: {trouble}. Is it running? `coursegen up` starts one."
                    ) from error
                if not told:
                    self._api.on_outage(f"the api does not answer ({trouble}); trying again")
                    told = True
            if not self._is_over:
                await asyncio.sleep(min(self._pause, _LONGEST_PAUSE_SECONDS))

    async def _read(self) -> AsyncIterator[Message]:
        headers = {"Last-Event-ID": self._place} if self._place else {}
        async with self._api.stream(self._path, headers) as answer:
            if answer.status_code == 204:
                self._is_over = True
                return
            fields: dict[str, str] = {}
            async for line in _lines(answer.aiter_text()):
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                    continue
                if not line and (message := self._message(fields)) is not None:
                    yield message
                if not line:
                    fields = {}

    def _message(self, fields: dict[str, str]) -> Message | None:
        if fields.get("retry", "").isdecimal():
            self._pause = int(fields["retry"]) / 1000
        if "data" not in fields:
            self._place = fields.get("id", self._place)
            return None
        event = fields.get("event", "message")
        try:
            content = orjson.loads(fields["data"])
        except orjson.JSONDecodeError as error:
            raise StreamBroken("a message of the stream cannot be read") from error
        self._is_over = event == "end"
        self._place = fields.get("id", self._place)
        return Message(event, content, fields.get("id"))


async def _lines(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines of a stream of events: they end at CR, LF or CRLF, and nowhere else; what has no end yet is no line."""
    rest = ""
    async for piece in pieces:
        text = rest + piece
        kept = "\r" if text.endswith("\r") else ""  # its LF may be in the next piece
        *whole, rest = _LINE_END.split(text.removesuffix(kept))
        rest += kept
        for line in whole:
            yield line
