"""From the stream into the table: once, in order, and settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernel.database import Database
from services.kernel.health import HealthRegistry
from services.kernel.messages import names
from services.kernel.messages.consuming import StreamExit
from services.kernel.messages.envelope import encode
from services.persistence_worker.worker import open_worker
from tests.integration.persistence_worker.conftest import Persisting, settings_for
from tests.integration.persistence_worker.test_poison import REFUSE, letters
from tests.support.clocks import StandingClock
from tests.support.stack import Stack
from tests.support.streamed import Ledger, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_message_becomes_the_row_that_its_sender_was_promised(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Every column, and the time of acceptance by the clock of Redis."""
    await ledger.send(envelope("talk", "m-1", 'Zwölf "Boxkämpfer"\n\\ 🥊'))
    ((entry_id, _),) = await redis.xrange(names.stream(partition_of("talk")))
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    row: Any = await db.fetchrow("SELECT * FROM messages")

    assert row["content"] == 'Zwölf "Boxkämpfer"\n\\ 🥊'
    assert (row["conversationid"], row["senderid"], row["contenttype"]) == ("talk", "alice", "text")
    assert (row["clientmessageid"], row["recipientids"]) == ("m-1", ["bob", "carol"])
    assert (row["correlationid"], row["payloadkey"]) == ("request-1", None)
    assert row["id"] == envelope("talk", "m-1").id
    assert row["idempotencykey"] == envelope("talk", "m-1").key
    assert int(row["createdat"].timestamp() * 1000) == int(entry_id.partition(b"-")[0])


async def test_conversations_keep_their_order(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """1,500 messages of 50 conversations, some there before the worker, some after."""
    await ledger.talk(50, 15)
    async with persisting():
        await ledger.talk(50, 15, first=15)
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    lags = await StreamExit(redis, "test").lags(range(16))
    assert set(lags.values()) == {0}


async def test_a_message_that_lies_in_the_stream_three_times_is_one_row(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """R8: in one batch, in three batches, and beside others."""
    for number in range(20):
        message = envelope("talk", f"m-{number}")
        await ledger.send(message)
        for _ in range(2):
            await redis.xadd(names.stream(partition_of("talk")), {"envelope": encode(message)})
    async with persisting(batch_size=7):
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
        for number in range(20):
            await redis.xadd(names.stream(partition_of("talk")), {"envelope": encode(envelope("talk", f"m-{number}"))})
        await eventually(lambda: settled(redis))

    ledger.compare(await ledger.rows(db))


async def test_a_message_whose_key_another_one_has_is_a_dead_letter(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """It has no row, so it is no repeat; a true repeat beside it is one, and what comes after becomes a row."""
    first = envelope("talk", "m-1")
    await ledger.send(first)
    async with persisting():
        await ledger.persisted(db)
        repeat = await redis.xadd(names.stream(partition_of("talk")), {"envelope": encode(first)})
        await ledger.send(envelope("talk", "m-1", id="other"), counts=False)
        await ledger.send(envelope("talk", "m-2"))
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    (letter,) = await letters(redis)

    assert (letter.reason, letter.attempts, letter.envelope) == ("refused", 3, envelope("talk", "m-1", id="other"))
    assert first.id in letter.error
    assert letter.entry_id != repeat.decode()


async def test_what_a_stranger_has_claimed_keeps_its_place_after_an_outage(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Somebody claims an entry in the worker's hand by hand, and PostgreSQL breaks off: it is written before what is new."""
    stream = names.stream(partition_of("talk"))
    async with persisting():
        async with db.transaction() as blocker:
            await blocker.execute("LOCK messages IN ACCESS EXCLUSIVE MODE")
            await ledger.send(envelope("talk", "m-1"))
            worker = await eventually(lambda: _waiting(db))
            await redis.xautoclaim(stream, names.GROUP, "stranger", 0)
            await ledger.send(envelope("talk", "m-2"))
            await db.execute("SELECT pg_terminate_backend($1)", worker)
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))


async def _waiting(db: Database) -> Any:
    """The backend that waits for the table."""
    return await db.fetchval("""
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO messages%'
    """)


async def test_a_batch_too_large_for_one_statement_becomes_smaller(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Each row takes 20 ms and a statement 0.5 s at most: a worker that is far behind would read 100 at once."""
    await db.execute("""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
        CREATE TRIGGER dawdle BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION dawdle()
    """)
    await ledger.talk(1, 300)
    async with persisting(batch_size=5, statement_seconds=0.5):
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert await redis.exists(names.DEAD_LETTERS) == 0 or await redis.xlen(names.DEAD_LETTERS) == 0


async def test_switched_off_it_leaves_the_messages_in_the_stream(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """ENABLE_STREAM_CONSUMERS=false: ready, shows the lag, persists nothing; switched on, all of it."""
    await ledger.talk(5, 4)
    idle = await stack.start("persistence_worker", env={"ENABLE_STREAM_CONSUMERS": "false"})
    lag = await eventually(lambda: _lag(idle))
    assert await db.fetchval("SELECT count(*) FROM messages") == 0
    assert await idle.stopped() == 0

    busy = await stack.start("persistence_worker")
    await ledger.persisted(db)

    assert lag == 20
    assert idle.lines("Stream consumers are off: messages wait in the stream; set ENABLE_STREAM_CONSUMERS=true")
    assert await busy.stopped() == 0
    started = [line for n in range(16) for line in busy.lines(f"Worker started for partition {n}")]
    assert len(started) == 16


async def test_switched_off_it_does_not_count_as_hanging(app_database_url: str, redis_url: str) -> None:
    """There is no loop that could come round, however long it lasts."""
    clock = StandingClock()
    health = HealthRegistry(clock)
    async with open_worker(settings_for(app_database_url, redis_url, consumers_enabled=False), health):
        clock.pass_by(3600)

        assert health.late() == []


async def test_epochs_that_redis_knows_from_an_earlier_life_of_the_database_are_overtaken(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """A database that was restored counts from lower numbers: its owners are owners all the same."""
    await redis.hset(names.EPOCHS, mapping=dict.fromkeys(range(16), 1000))
    await ledger.talk(20, 5)
    async with persisting():
        await ledger.persisted(db)
        epochs = await db.fetch("SELECT epoch FROM message_partitions")

    assert {row["epoch"] for row in epochs} == {1001}


async def test_what_it_has_done_is_in_its_figures_and_lines(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """The contract's names: processed by status, hits, lag of every partition, durations; `Persisted` and `Idempotent`."""
    await ledger.talk(5, 4)
    await redis.xadd(names.stream(partition_of("talk-1")), {"envelope": encode(envelope("talk-1", "m-0"))})
    await redis.xadd(names.stream(3), {"envelope": b"{"})
    worker = await stack.start("persistence_worker")
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))

    async def shown() -> str:
        page = await _page(worker)
        assert 'stream_consumer_processed_total{status="success"} 20.0' in page
        assert page.count('stream_partition_lag{partition="') == 16
        return page

    page = await eventually(shown)
    for line in (
        'stream_consumer_processed_total{status="duplicate"} 1.0',
        'stream_consumer_processed_total{status="dead_letter"} 1.0',
        'stream_consumer_processed_total{status="error"} 0.0',
        'idempotency_hit_total{operation="persist"} 1.0',
        "stream_dead_letter_total 1.0",
        "stream_processing_duration_seconds_count 21.0",
        "stream_partitions_held 16.0",
    ):
        assert line in page
    assert await worker.stopped() == 0
    assert sum(line["messages"] for line in worker.lines("Persisted messages")) == 20
    assert worker.lines("Idempotent repeats, whose rows were there already")
    assert worker.lines("Failed for good: the message is a dead letter in msg:dlq")


async def test_rows_are_counted_when_they_are_committed_and_times_from_reading(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """A settling that failed once makes duplicates of rows that were counted; what waited in hand has its wait in its time."""
    await db.execute(REFUSE)
    await ledger.talk(5, 4)
    await ledger.send(envelope("talk-0", "bad", "poison"))
    worker = await stack.start(
        "persistence_worker", faults="persistence.before_settle=raise@1", env={"STREAM_RETRY_SECONDS": "1.5"}
    )
    await eventually(lambda: worker.lines("Failed to persist a message"))
    await db.execute("DROP TRIGGER refuse ON messages")
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))

    async def shown() -> str:
        page = await _page(worker)
        assert "stream_processing_duration_seconds_count 21.0" in page
        return page

    figures = dict(line.rsplit(" ", 1) for line in (await eventually(shown)).splitlines() if line[:1] != "#")
    assert figures['stream_consumer_processed_total{status="success"}'] == "21.0"
    assert float(figures['stream_consumer_processed_total{status="duplicate"}']) > 0
    assert float(figures["stream_processing_duration_seconds_sum"]) >= 1.5
    assert stack.fired() == {"persistence.before_settle raise": 1}


async def _page(worker: Any) -> str:
    import httpx

    async with httpx.AsyncClient(timeout=5) as client:
        return (await client.get(f"http://127.0.0.1:{worker.metrics_port}/metrics")).text


async def _lag(worker: Any) -> float:
    lines = [line for line in (await _page(worker)).splitlines() if line.startswith("stream_partition_lag{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
