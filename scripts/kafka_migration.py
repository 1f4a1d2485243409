#!/usr/bin/env python3
"""Move messages from Redis to Kafka and back, step by step: ``.venv/bin/python scripts/kafka_migration.py STEP``.

docs/KAFKA_MIGRATION_GUIDE.md says when each step is taken and what to look at. Takes the settings of the processes from the
environment (DATABASE_URL, REDIS_URL, REDIS_STREAM_DB …) and two of its own: KAFKA_SERVERS, some brokers ("host:port,host:port"),
and KAFKA_COPIES, how many brokers have each record (3).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from services.api.service import open_api
from services.api.settings import ApiSettings
from services.api.settings import load_settings as load_api_settings
from services.kernel import lifecycle
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, CoursegenError
from services.kernel.installation import STREAM, Claim
from services.kernel.messages.consuming import StreamExit
from services.kernel.messages.kafka.broker import GROUP, Broker, chosen, place
from services.kernel.messages.kafka.comparing import compare, directly
from services.kernel.messages.kafka.copying import Copier
from services.kernel.messages.kafka.letters import KafkaLetters
from services.kernel.messages.kafka.opening import topics
from services.kernel.messages.kafka.reservations import Reservations
from services.kernel.messages.kafka.switching import Routes, switched
from services.kernel.messages.settings import stream_address
from services.kernel.messages.transport import Entrance, Transport
from services.kernel.redis_connection import open_redis
from services.persistence_worker.settings import PersistenceSettings
from services.persistence_worker.worker import open_streams, open_worker

if TYPE_CHECKING:
    from redis.asyncio import Redis

_LOOK_SECONDS = 0.05
_SAY_SECONDS = 10.0


class Servers(NamedTuple):
    """What the steps speak to."""

    broker: Broker
    redis: Redis
    db: Database
    partitions: int


def servers() -> str:
    """Some brokers of Kafka.

    Raises:
        SystemExit: nobody has said which.
    """
    found = os.environ.get("KAFKA_SERVERS", "")
    if not found:
        raise SystemExit("Say where Kafka is, then run the same again: export KAFKA_SERVERS=host:9092")
    return found


@asynccontextmanager
async def opened() -> AsyncIterator[Servers]:
    """The servers, for as long as the block runs."""
    settings = PersistenceSettings.from_environ(os.environ)
    async with AsyncExitStack() as stack:
        db = await Database.open(settings, application="coursegen kafka-migration")
        stack.push_async_callback(db.close)
        redis = open_redis(stream_address(settings, settings.redis_url), name="kafka-migration", socket_timeout=10.0)
        stack.push_async_callback(redis.aclose)
        count = await StreamExit(redis, "migration").partitions(settings.stream_partitions)
        yield Servers(Broker(servers()), redis, db, count)


async def make_topics(_asked: Sequence[int]) -> int:
    """Make the topics, with as many partitions as Redis has."""
    async with opened() as at:
        await at.broker.make_topics(at.partitions, copies=int(os.environ.get("KAFKA_COPIES", "3")))
        print(f"The topics are there, with {at.partitions} partitions.")
    return 0


async def copy(asked: Sequence[int]) -> int:
    """Copy what Redis has into Kafka, and go on until stopped."""
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    async with opened() as at:
        copier = Copier(at.broker, at.redis)
        copied, said = 0, asyncio.get_running_loop().time()
        while not stopping.is_set():
            try:
                copied += sum([await copier.copy(each) for each in asked or range(at.partitions)])
            except BrokerUnavailable as error:
                print(f"Copying waits: {error.message}", file=sys.stderr, flush=True)
                await asyncio.sleep(1)
            if (now := asyncio.get_running_loop().time()) - said >= _SAY_SECONDS:
                print(f"Copied entries: {copied}", flush=True)
                said = now
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _LOOK_SECONDS)
        await copier.close()
        print(f"Copied entries: {copied}. Stopped.")
    return 0


async def compare_all(asked: Sequence[int]) -> int:
    """Say whether Redis, Kafka and PostgreSQL agree; ends with 1 when they do not."""
    good = True
    async with opened() as at:
        for each in asked or range(at.partitions):
            found = await compare(at.broker, at.redis, at.db, each)
            good &= found.is_good
            print(
                f"partition {each}: {found.entries} in Redis ({found.not_copied} not copied yet), {found.records} in Kafka, "
                f"{found.rows} of them have rows; missing {len(found.missing)}, lost {len(found.lost)}, "
                f"differing {len(found.differing)}, out of order {len(found.disordered)}"
            )
            for name in ("missing", "lost", "differing", "disordered"):
                if some := getattr(found, name)[:5]:
                    print(f"  {name}: {' '.join(some)}")
    return 0 if good else 1


async def cut_over(asked: Sequence[int]) -> int:
    """Have partitions read from Kafka, those that compare well; ends with 1 when one does not."""
    async with opened() as at:
        for each in asked:
            found = await compare(at.broker, at.redis, at.db, each)
            if not found.is_good or (found.entries and found.entries == found.not_copied):
                print(f"Partition {each} stays with Redis: scripts/kafka_migration.py compare {each} says why.")
                return 1
            await Routes(at.redis).lead(each, to_kafka=True)
            print(f"Partition {each} is read from Kafka.")
    return 0


async def back(asked: Sequence[int]) -> int:
    """Have partitions read from Redis again, those of which Redis has all that is not settled; ends with 1 when it has not."""
    async with opened() as at:
        for each in asked:
            if number := await directly(at.broker, each):
                print(
                    f"Partition {each} stays with Kafka: {number} records that are not in Redis have no row yet. Stop the "
                    f"apis that write to Kafka, and try again when they are persisted: scripts/kafka_migration.py status"
                )
                return 1
            await Routes(at.redis).lead(each, to_kafka=False)
            print(f"Partition {each} is read from Redis.")
    return 0


async def status(_asked: Sequence[int]) -> int:
    """Say for each partition where it is read, and how far that is."""
    async with opened() as at:
        to_kafka = await Routes(at.redis).to_kafka()
        settled = chosen(range(at.partitions), await at.broker.notes(GROUP))
        lags = await StreamExit(at.redis, "migration").lags(range(at.partitions))
        for each in range(at.partitions):
            waiting = len(await at.broker.records(place(each), first=settled[each]))
            where = "Kafka" if each in to_kafka else "Redis"
            print(f"partition {each}: read from {where}; not settled: {lags[each]} in Redis, {waiting} in Kafka")
        print(f"dead letters in Kafka: {await KafkaLetters(at.broker, Reservations(at.redis)).count()}")
    return 0


async def dead_letters(_asked: Sequence[int]) -> int:
    """Show the dead letters that lie in Kafka."""
    async with opened() as at:
        for each in await KafkaLetters(at.broker, Reservations(at.redis)).page(most=1000):
            print(each.letter_id, f"partition {each.partition}", each.reason, each.error)
    return 0


async def replay(_asked: Sequence[int]) -> int:
    """Put all dead letters that lie in Kafka back."""
    async with opened() as at:
        print(f"Put back: {await KafkaLetters(at.broker, Reservations(at.redis)).replay_all()}")
    return 0


async def _switched(settings: PersistenceSettings, node: str, db: Database, stack: AsyncExitStack) -> Transport:
    streams = await open_streams(settings, node, db, stack)
    redis = open_redis(stream_address(settings, settings.redis_url), name="persistence-worker", socket_timeout=10.0)
    stack.push_async_callback(redis.aclose)
    found = await stack.enter_async_context(topics(servers(), redis, reservation_seconds=settings.reservation_seconds))
    return switched(redis, streams, found)


async def _topic_entrance(settings: ApiSettings, redis: Redis, db: Database, stack: AsyncExitStack) -> Entrance:
    await (await Claim.of(db, redis, STREAM)).begin()  # it remembers messages by their ids
    found = await stack.enter_async_context(topics(servers(), redis, patience_seconds=settings.messages_accept_seconds))
    return found.entrance


def persist() -> int:
    """Run a persistence-worker that reads each partition from where it is to be read."""
    opening = partial(open_worker, open_transport=_switched)
    return lifecycle.run("persistence-worker", opening, PersistenceSettings.from_environ)


def serve() -> int:
    """Run an api that accepts messages into Kafka."""
    return lifecycle.run("api", partial(open_api, open_entrance=_topic_entrance), load_api_settings)


_STEPS = {
    "topics": make_topics,
    "copy": copy,
    "compare": compare_all,
    "cut-over": cut_over,
    "back": back,
    "status": status,
    "dead-letters": dead_letters,
    "replay": replay,
}
_PROCESSES = {"persist": persist, "serve": serve}


def main(arguments: Sequence[str]) -> int:
    """Take one step; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=[*_STEPS, *_PROCESSES])
    parser.add_argument(
        "partitions", nargs="*", type=int, help="all of them when none is named, but for cut-over and back"
    )
    asked = parser.parse_args(arguments)
    if asked.step in {"cut-over", "back"} and not asked.partitions:
        parser.error(f"name the partitions: {asked.step} 0 1 2")
    servers()
    if asked.step in _PROCESSES:
        return _PROCESSES[asked.step]()
    try:
        return asyncio.run(_STEPS[asked.step](asked.partitions))
    except CoursegenError as error:
        print(f"{error.message}. When that is mended, run the same again: every step may be repeated.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
