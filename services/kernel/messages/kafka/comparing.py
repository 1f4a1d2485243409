"""Whether Redis, Kafka and PostgreSQL say the same of a partition: looked at before readers move, and whenever in doubt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.messages.envelope import Envelope, LaterVersion, Undecodable, decode
from services.kernel.messages.kafka.broker import COPIED, DEAD_LETTERS, GROUP, Broker, chosen, header, place
from services.kernel.messages.kafka.reservations import COPIED_PREFIX
from services.kernel.queries import Queries
from services.kernel.redis_connection import refusals_translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

_QUERIES = Queries.load("services.kernel.messages.kafka", "comparing.sql")


class Comparison(NamedTuple):
    """What was found of one partition."""

    partition: int
    entries: int
    """In Redis."""
    records: int
    """In Kafka."""
    rows: int
    """In PostgreSQL, of what Kafka has."""
    not_copied: int
    """Entries of Redis that are newer than the last copy: the copier is so far behind."""
    missing: list[str]
    """Messages without a row that Redis has and Kafka has not, though newer ones were copied: lost if readers moved now."""
    lost: list[str]
    """Messages that are settled in Kafka and are neither rows nor dead letters."""
    differing: list[str]
    """Messages whose row says something else than every record of theirs."""
    disordered: list[str]
    """Conversations whose rows come in another order than their records."""

    @property
    def is_good(self) -> bool:
        """Whether readers of this partition may move."""
        return not (self.missing or self.lost or self.differing or self.disordered)


async def compare(broker: Broker, redis: Redis, db: Database, partition: int) -> Comparison:
    """Compare what the three hold of a partition at this moment. It reads all of it.

    Raises:
        BrokerUnavailable, DatabaseUnavailable: a server does not answer.
    """
    client: Any = redis
    with refusals_translated("Redis refuses to be compared"):
        copied = (await client.get(f"{COPIED_PREFIX}{partition}") or b"0-0").decode()
        entries = await client.xrange(names.stream(partition))
    settled = chosen([partition], await broker.notes(GROUP))[partition]
    records = await broker.records(place(partition))
    dead = {each.id for _, each in _messages(await broker.records(place(0)._replace(topic=DEAD_LETTERS)))}
    messages = list(_messages(records))
    digests: defaultdict[str, set[str]] = defaultdict(set)
    for _, each in messages:
        digests[each.id].add(each.digest)
    old = [fields for entry_id, fields in entries if _order(entry_id.decode()) <= _order(copied)]
    wanted = {each.id for each in (_message(fields.get(b"envelope", b"")) for fields in old) if each}
    rows = {
        row["id"]: row["contentdigest"]
        for row in await db.fetch(_QUERIES["rows_in_order"], list(digests.keys() | wanted))
    }
    return Comparison(
        partition=partition,
        entries=len(entries),
        records=len(records),
        rows=len(rows.keys() & digests.keys()),
        not_copied=len(entries) - len(old),
        missing=sorted(wanted - digests.keys() - rows.keys()),
        lost=sorted({each.id for offset, each in messages if offset < settled} - rows.keys() - dead),
        differing=sorted(each for each, said in digests.items() if rows.get(each) not in {None, *said}),
        disordered=_disordered([each for _, each in messages], list(rows)),
    )


async def directly(broker: Broker, partition: int) -> int:
    """How many records of a partition are not settled and are no copies: Redis has them not, so readers must not move back."""
    settled = chosen([partition], await broker.notes(GROUP))[partition]
    return sum(not header(each, COPIED) for each in await broker.records(place(partition), first=settled))


def _messages(records: Iterable[Any]) -> Iterable[tuple[int, Envelope]]:
    for record in records:
        if envelope := _message(record.value or b""):
            yield record.offset, envelope


def _message(body: bytes) -> Envelope | None:
    try:
        return decode(body)
    except (Undecodable, LaterVersion):
        return None


def _disordered(messages: Iterable[Envelope], rows: Iterable[str]) -> list[str]:
    """A message that was replayed has two records, and its row may have come of either."""
    said: defaultdict[str, list[str]] = defaultdict(list)
    belongs: dict[str, str] = {}
    for each in messages:
        said[each.conversation_id].append(each.id)
        belongs[each.id] = each.conversation_id
    there: defaultdict[str, list[str]] = defaultdict(list)
    for message in rows:
        if message in belongs:
            there[belongs[message]].append(message)
    return sorted(each for each, ids in there.items() if not _follows(ids, said[each]))


def _follows(ids: Iterable[str], said: Iterable[str]) -> bool:
    """Whether `ids` come in `said` in this order, whatever lies between them."""
    rest = iter(said)
    return all(each in rest for each in ids)


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
