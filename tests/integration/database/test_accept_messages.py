"""`accept_messages`: messages written at once, in the order of their conversation (reliability.md M15)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from services.api.conversations import writing
from services.api.conversations.writing import Writing
from services.kernel.clock import SystemClock
from services.kernel.database import Connection, Database, DatabaseRefused, connect, translated
from services.kernel.errors import Conflict, DatabaseUnavailable, InvalidInput
from services.kernel.messages.accepting import Acceptance, Submission
from services.kernel.messages.envelope import Envelope
from services.kernel.messages.identity import content_digest, idempotency_key, message_id
from services.kernel.messages.names import partition_hash
from services.kernel.messages.store import MessageStore
from services.kernel.settings import CommonSettings, Secret
from tests.support.waiting import eventually

_CALL = "SELECT id, is_new FROM accept_messages($1::integer[], $2)"


def submission(conversation: str, client_id: str, content: str = "Hello") -> Submission:
    """A message of alice's."""
    key = idempotency_key("alice", conversation, client_id)
    envelope = Envelope(
        id=message_id(key),
        key=key,
        conversation_id=conversation,
        sender_id="alice",
        content=content,
        content_type="text",
        client_message_id=client_id,
        recipient_ids=('b"ob', "{a,b}", "курс", ""),
        correlation_id=None,
        digest=content_digest(content, "text", ()),
    )
    return Submission(envelope, partition_hash(conversation))


async def accepted(db: Database, *messages: Submission) -> list[Acceptance]:
    """Write messages none of which may be a conflict."""
    answers = await MessageStore(db).accept(messages)
    assert not any(isinstance(each, Conflict) for each in answers)
    return [each for each in answers if isinstance(each, Acceptance)]


def _text(conversation: str, client_id: str) -> str:
    document: dict[str, Any] = {
        "id": f"msg_{conversation}{client_id}",
        "key": f"{conversation}{client_id}",
        "conversationId": conversation,
        "senderId": "alice",
        "content": "Hello",
        "contentType": "text",
        "clientMessageId": client_id,
        "recipientIds": [],
        "digest": "d",
    }
    return orjson.dumps([document]).decode()


async def test_every_field_arrives(db: Database) -> None:
    """As it was, recipients with quotes, braces and commas included."""
    [answer] = await accepted(db, submission("c", "1", 'He said "{}",\\n'))
    row = await db.fetchrow("SELECT * FROM messages")

    assert row is not None
    assert answer.is_new
    assert answer.accepted_at == row["createdat"]
    assert row["createdat"].microsecond % 1000 == 0
    assert list(row["recipientids"]) == ['b"ob', "{a,b}", "курс", ""]
    assert (row["content"], row["clientmessageid"], row["correlationid"]) == ('He said "{}",\\n', "1", None)


async def test_a_batch_keeps_its_order_and_repeats_are_told_apart(db: Database) -> None:
    """Rows stand in the order of the batch; a repeat within it is one; the first one's time counts."""
    [before] = await accepted(db, submission("c", "old"))
    answers = await accepted(db, *(submission("c", each) for each in ("3", "1", "old", "2", "1")))
    rows = await db.fetch("SELECT clientmessageid FROM messages ORDER BY position")

    assert [each["clientmessageid"] for each in rows] == ["old", "3", "1", "2"]
    assert [each.is_new for each in answers] == [True, True, False, True, False]
    assert answers[2].accepted_at == before.accepted_at


async def test_another_content_is_told(db: Database) -> None:
    """The first one stands."""
    answers = await accepted(db, submission("c", "1"), submission("c", "1", "Bye"))

    assert [each.is_same for each in answers] == [True, False]
    assert await db.fetchval("SELECT content FROM messages") == "Hello"


async def test_a_row_that_came_another_way_stops_nobody_else(db: Database) -> None:
    """It has the key of a message under another id: that one is a conflict, and those beside it are written."""
    first, foreign, last = batch = [submission("c", each) for each in ("1", "2", "3")]
    await db.execute(
        "INSERT INTO messages (id, conversationid, senderid, content, idempotencykey)"
        " VALUES ('imported-1', 'c', 'alice', 'Hello', $1)",
        foreign.envelope.key,
    )
    answers = await MessageStore(db).accept(batch)

    assert [isinstance(each, Acceptance) and each.is_new for each in answers] == [True, False, True]
    assert isinstance(answers[1], Conflict)
    assert {row["id"] for row in await db.fetch("SELECT id FROM messages")} == {
        first.envelope.id,
        "imported-1",
        last.envelope.id,
    }


async def test_a_conversation_is_written_one_after_the_other(db: Database, database_url: str) -> None:
    """Who comes second waits until the first is committed, so that no reader passes it by; other conversations do not wait."""
    first, second = await connect(database_url), await connect(database_url)
    transaction = first.transaction()
    await transaction.start()
    await first.fetch(_CALL, [7], _text("c", "1"))
    waiting = asyncio.create_task(second.fetch(_CALL, [7], _text("c", "2")))
    await eventually(lambda: _is_waiting(db), within=10)
    async with db.acquire() as third:
        await third.fetch(_CALL, [8], _text("d", "1"))
    seen = await db.fetch("SELECT conversationid FROM messages")
    await transaction.commit()
    await waiting
    rows = await db.fetch("SELECT clientmessageid FROM messages WHERE conversationid = 'c' ORDER BY position")
    await first.close()
    await second.close()

    assert [each["conversationid"] for each in seen] == ["d"]
    assert [each["clientmessageid"] for each in rows] == ["1", "2"]


async def _is_waiting(db: Database) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def test_two_batches_over_the_same_conversations_do_not_wait_for_each_other_for_ever(db: Database) -> None:
    """In whatever order they name them."""
    store = MessageStore(db)

    async def write(name: int) -> None:
        for number in range(15):
            conversations = [f"c-{each}" for each in range(6)]
            batch = [
                submission(each, f"{name}-{number}") for each in (conversations if name % 2 else conversations[::-1])
            ]
            await store.accept(batch)

    await asyncio.gather(*(write(name) for name in range(4)))

    assert await db.fetchval("SELECT count(*) FROM messages") == 4 * 15 * 6


async def test_a_hash_of_thirty_two_bits_fits(db: Database) -> None:
    """The largest and the smallest."""
    envelope = submission("c", "1").envelope
    store = MessageStore(db)
    for conversation_hash in (0, 2**31 - 1, 2**31, 2**32 - 1):
        await store.accept([Submission(envelope, conversation_hash)])

    assert await db.fetchval("SELECT count(*) FROM messages") == 1


@pytest.mark.parametrize(
    "text",
    ["", "{}", '[{"id": "msg_x"}]', '[{"id": "msg_x", "conversationId": "c", "senderId": "s", "contentType": "text"}]'],
)
async def test_what_is_no_message_is_not_written(owner: Connection, text: str) -> None:
    """By the table's own rules."""
    with pytest.raises((DatabaseRefused, InvalidInput)), translated():
        await owner.fetch(_CALL, [1], text)

    assert await owner.fetchval("SELECT count(*) FROM messages") == 0


_LINGER = """
CREATE SEQUENCE tries;
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content = 'poison' THEN PERFORM nextval('tries'), pg_sleep(30); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER linger BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION linger();
"""
"""A sequence is not rolled back: it says in how many statements the message was."""


@pytest.mark.parametrize(("longest", "tries", "rows"), [(0.0, 1, 0), (60.0, 5, 15)])
async def test_nobody_is_looked_for_of_whom_nobody_waits_any_more(
    database_url: str, db: Database, monkeypatch: pytest.MonkeyPatch, longest: float, tries: int, rows: int
) -> None:
    """The batch of a slow message is halved until it is alone, for as long as whoever sent one waits for the answer."""
    monkeypatch.setattr(writing, "LONGEST_WRITE_SECONDS", longest)
    await db.execute(_LINGER)
    batch = [submission(f"c-{n}", "1", "poison" if n == 5 else "Hello") for n in range(16)]
    slow = await Database.open(CommonSettings(database_url=Secret(database_url), statement_seconds=0.5))
    try:
        store = MessageStore(slow)
        write = Writing(store, store.accept, SystemClock()).write(batch)
        (answers,) = await asyncio.gather(write, return_exceptions=True)
    finally:
        await slow.close()

    assert isinstance(answers, DatabaseUnavailable) == (not rows)
    assert await db.fetchval("SELECT last_value FROM tries") == tries
    assert await db.fetchval("SELECT count(*) FROM messages") == rows
