"""One attempt over HTTP: bounded in time and size, to checked addresses, without redirects, proxies or kept connections.

The status line decides. What follows it is read up to a limit, to be polite and to quote it when it says what is wrong;
a body that is too long, too slow or cut off changes nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpcore

from services.kernel.lean import lean
from services.kernel.logs import scrub_text
from services.kernel.webhooks.urls import Target
from services.stage_worker.webhooks.network import GuardedBackend

with lean():
    import httpx

LARGEST_ANSWER: Final = 65_536
"""Bytes of an answer that are read at most."""

_MOST_CONNECTIONS: Final = 256
_LONGEST_QUOTE: Final = 200
_LONGEST_REASON: Final = 300


class AttemptFailed(Exception):
    """No answer came; the text says why, for the people who look after the receiver."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said."""

    status: int
    retry_after: str | None = None
    quote: str = ""
    """The beginning of its body, made printable."""

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver has taken it."""
        return 200 <= self.status <= 299


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies receivers by the public authorities, and those in `ca_file`."""
    context = httpx.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


class Sender:
    """Posts bodies. Close it when the process stops."""

    def __init__(self, backend: GuardedBackend, context: ssl.SSLContext, *, seconds: float) -> None:
        self._seconds = seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=0,
            http2=False,
            retries=0,
            network_backend=backend,
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._pool.aclose()

    async def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send `body` and return the answer, whatever its status.

        Raises:
            AttemptFailed: none came in time, or the connection could not be made or trusted.
            UpstreamUnavailable: too many names are being looked up; no attempt was made.
        """
        answer: Answer | None = None
        try:
            async with asyncio.timeout(self._seconds), self._stream(target, headers, body) as response:
                answer = _answer(response)
                answer = Answer(answer.status, answer.retry_after, _quote(await _beginning(response)))
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            TimeoutError,
            OSError,
        ) as error:
            if answer is None:
                raise AttemptFailed(self._reason(error)) from error
        return answer

    @contextlib.asynccontextmanager
    async def _stream(
        self, target: Target, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[httpcore.Response]:
        url = httpcore.URL(
            scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
        )
        sent = {"Host": target.authority, "Accept-Encoding": "identity", "Connection": "close", **headers}
        limits: dict[str, Any] = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
        async with self._pool.stream(
            b"POST",
            url,
            headers=[(name.encode(), value.encode()) for name, value in sent.items()],
            content=body,
            extensions={"timeout": limits},
        ) as response:
            yield response

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError | httpcore.TimeoutException):
            return f"no answer within {self._seconds:g} s"
        text = _printable(str(error)) or type(error).__name__
        return f"no answer: {text}"[:_LONGEST_REASON]


def _answer(response: httpcore.Response) -> Answer:
    asked = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
    return Answer(response.status, None if asked is None else asked.decode("latin-1"))


async def _beginning(response: httpcore.Response) -> bytes:
    found = b""
    async for piece in response.aiter_stream():
        found += piece
        if len(found) >= LARGEST_ANSWER:
            break
    return found[:LARGEST_ANSWER]


def _quote(body: bytes) -> str:
    return _printable(body[: 4 * _LONGEST_QUOTE].decode("utf-8", "replace"))[:_LONGEST_QUOTE]


def _printable(text: str) -> str:
    """One line without control characters and without what looks like a credential."""
    return scrub_text(" ".join("".join(each if each.isprintable() else " " for each in text).split()))
