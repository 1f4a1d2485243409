"""The yardstick of `messages`: XADD, XREADGROUP, COPY and XACK in the barest loops, each run as a process.

`produce` puts ready-made envelopes into the streams, in pipelines as large as the api's batches; `consume` reads all streams at
once, decodes the envelopes, copies them into the table and acknowledges. No HTTP, no reservation, no fence, no repeats, no
retries, no order of conversations across failures, no figures. Both end after as many messages as their argument says.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import redis.asyncio as aioredis
import uvloop

from services.kernel.messages import identity, names
from services.kernel.messages.envelope import Envelope, decode, encode

PARTITIONS = 16
BATCH = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = (
    "id", "conversationid", "senderid", "content", "contenttype", "clientmessageid", "recipientids", "idempotencykey",
    "correlationid", "payloadkey", "contentdigest", "createdat",
)  # fmt: skip


def envelope(run: str, number: int, content: str) -> Envelope:
    """A message such as `benchmarks.support.message_load` posts."""
    conversation, sender, client = f"talk-{number % 1000}", f"user-{number % 97}", f"{run}-{number}"
    key = identity.idempotency_key(sender, conversation, client)
    return Envelope(
        id=identity.message_id(key),
        key=key,
        conversation_id=conversation,
        sender_id=sender,
        content=content,
        content_type="text",
        client_message_id=client,
        recipient_ids=("bob",),
        digest=identity.content_digest(content, "text", ("bob",)),
    )


async def produce(messages: int, run: str) -> None:
    """Add so many envelopes; says `ready` before the first, when all of them are made."""
    client = aioredis.Redis.from_url(os.environ["REDIS_URL"])
    made = [envelope(run, number, "x" * 200) for number in range(messages)]
    entries: list[tuple[str, dict[Any, Any]]] = [
        (names.stream(names.partition_hash(each.conversation_id) % PARTITIONS), {names.ENVELOPE: encode(each)})
        for each in made
    ]
    print("ready", flush=True)
    await asyncio.to_thread(input)
    for start in range(0, messages, BATCH):
        pipe = client.pipeline(transaction=False)
        for stream, fields in entries[start : start + BATCH]:
            pipe.xadd(stream, fields)
        await pipe.execute()
    await client.aclose()


async def consume(messages: int) -> None:
    """Persist so many entries; says `ready` when the groups are there."""
    connection = await asyncpg.connect(os.environ["OWNER_URL"])
    client = aioredis.Redis.from_url(os.environ["REDIS_URL"])
    streams: dict[Any, Any] = {names.stream(partition): ">" for partition in range(PARTITIONS)}
    for stream in streams:
        await client.xgroup_create(stream, names.GROUP, id="0", mkstream=True)
    print("ready", flush=True)
    await asyncio.to_thread(input)
    while messages > 0:
        found = await client.xreadgroup(names.GROUP, "bare", streams, count=BATCH, block=1000)
        rows = [_row(entry_id, fields) for _, entries in found for entry_id, fields in entries]
        if not rows:
            continue
        await connection.copy_records_to_table("messages", records=rows, columns=_COLUMNS)
        pipe = client.pipeline(transaction=False)
        for stream, entries in found:
            pipe.xack(stream, names.GROUP, *(entry_id for entry_id, _ in entries))
        await pipe.execute()
        messages -= len(rows)
    await asyncio.gather(client.aclose(), connection.close())


def _row(entry_id: bytes, fields: dict[bytes, bytes]) -> tuple[Any, ...]:
    message = decode(fields[names.ENVELOPE.encode()])
    accepted = _EPOCH + timedelta(milliseconds=int(entry_id.partition(b"-")[0]))
    return (
        message.id, message.conversation_id, message.sender_id, message.content, message.content_type,
        message.client_message_id, message.recipient_ids, message.key, message.correlation_id, message.payload_key,
        message.digest, accepted,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["produce", "consume"])
    parser.add_argument("messages", type=int)
    parser.add_argument("run", nargs="?", default="bare")
    asked = parser.parse_args()
    uvloop.run(produce(asked.messages, asked.run) if asked.what == "produce" else consume(asked.messages))
