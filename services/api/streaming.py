"""Sends a body that goes on, until it ends by itself or its reader leaves.

Promises: one piece at a time, so that a slow reader holds back its own stream and nothing else; a reader that closes the
connection is noticed at once, also while there is nothing to send; the source is closed whatever happens.
"""

from __future__ import annotations

import asyncio

from services.api.messages import ChunkSource, Receive, Send


async def pump(source: ChunkSource, receive: Receive, send: Send) -> None:
    """Send everything `source` has to say after the head has been sent."""
    leaving = asyncio.create_task(_until_gone(receive), name="client leaving")
    leaving.add_done_callback(lambda _: source.close())
    try:
        while chunk := await source.next_chunk():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        source.close()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
