"""A GET to a process on this machine, for probes and metrics: small, bounded, never raising."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.cli.stack.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


async def get(port: int, path: str, *, seconds: float = 2.0, accept: str = "*/*") -> Answer | None:
    """Ask for `path` on a loopback port; None when nobody answers in time."""
    try:
        return await asyncio.wait_for(_get(port, path, accept), seconds)
    except (OSError, ValueError, IndexError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def is_ready(port: int) -> bool:
    """Whether the process behind the metrics port says that it is ready."""
    answer = await get(port, "/readyz")
    return answer is not None and answer.status == 200


async def _get(port: int, path: str, accept: str) -> Answer:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        headers = f"Host: {LOOPBACK}:{port}\r\nAccept: {accept}\r\nConnection: close\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
        await writer.drain()
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        return Answer(int(head.split(b" ", 2)[1]), body)
    finally:
        writer.close()
