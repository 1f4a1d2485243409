"""The OpenTelemetry collector that spans are sent to: one POST by HTTP or HTTPS, bounded, its answer read up to the status."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

LONGEST_SECONDS: Final = 5.0
_PATH: Final = "/v1/traces"
_CONTENT_TYPE: Final = "application/x-protobuf"
_EXAMPLE: Final = "must be an address like http://collector:4318"
_PASSING: Final = frozenset({408, 429, 502, 503, 504})


class NotTaken(Exception):
    """The collector has not taken the spans. `is_passing`: it may take them later."""

    def __init__(self, reason: str, *, is_passing: bool) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go."""

    host: str
    port: int
    path: str
    is_encrypted: bool

    async def take(self, body: bytes) -> None:
        """Send an export request.

        Raises:
            NotTaken: it did not answer in time, or did not say yes.
        """
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                status = await self._post(body)
        except (OSError, ValueError, IndexError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise NotTaken(type(error).__name__, is_passing=True) from error
        if not 200 <= status <= 299:
            raise NotTaken(f"it answered {status}", is_passing=status in _PASSING)

    async def _post(self, body: bytes) -> int:
        context = ssl.create_default_context() if self.is_encrypted else None
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context)
        try:
            host = f"[{self.host}]" if ":" in self.host else self.host
            head = (
                f"POST {self.path} HTTP/1.1\r\nHost: {host}:{self.port}\r\nContent-Type: {_CONTENT_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            return int((await reader.readline()).split(b" ", 2)[1])
        finally:
            writer.close()


def parse_endpoint(text: str) -> str:
    """The address of a collector, checked; `ValueError` says what to write."""
    collector_at(text)
    return text


def collector_at(endpoint: str) -> Collector:
    """The collector whose OTLP/HTTP endpoint this is; `/v1/traces` is added as OpenTelemetry has it."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(_EXAMPLE) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(_EXAMPLE)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no login: send to a collector of your own, which knows how to pass spans on")
    is_encrypted = parts.scheme == "https"
    return Collector(
        parts.hostname, port or (443 if is_encrypted else 80), parts.path.rstrip("/") + _PATH, is_encrypted
    )
