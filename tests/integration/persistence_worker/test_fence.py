"""Leases and the fence in PostgreSQL: who has been succeeded writes nothing, and nobody succeeds in the middle of an insert."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.kernel.database import Database
from services.kernel.messages.consuming import Entry, Lease
from services.kernel.messages.envelope import encode
from services.kernel.messages.partitions import PartitionBook
from services.kernel.settings import CommonSettings, Secret
from services.persistence_worker.items import Item
from services.persistence_worker.persister import Persister
from tests.support.streamed import envelope


@pytest.fixture
async def app(app_database_url: str) -> Any:
    """The database as the worker sees it."""
    database = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    yield database
    await database.close()


def item(lease: Lease, number: int) -> Item:
    """A message in hand."""
    message = envelope(f"talk-{lease.partition}", f"m-{number}")
    return Item(
        lease, Entry(lease.partition, f"1700000000000-{number}", f"1700000000000-{number}", encode(message)), message
    )


async def _all(book: PartitionBook, count: int = 4) -> dict[int, Lease]:
    await book.renew(count)
    return {lease.partition: lease for lease in await book.take(count)}


async def test_a_successor_has_a_higher_epoch_and_the_one_before_writes_nothing(app: Database) -> None:
    """An expired lease is taken; of a batch for two partitions only what is still held is written."""
    first, second = PartitionBook(app, "first", 0.05), PartitionBook(app, "second", 60)
    leases = await _all(first)
    await asyncio.sleep(0.1)
    await second.renew(4)
    (taken,) = await second.take(1)
    outcome = await Persister(app, "first").put([item(leases[taken.partition], 1), item(leases[3], 1)])

    assert taken.epoch == leases[taken.partition].epoch + 1
    assert outcome.lost == {leases[taken.partition]}
    assert [each.lease.partition for each in outcome.done] == [3]
    assert await app.fetchval("SELECT array_agg(conversationid) FROM messages") == ["talk-3"]
    other = await Persister(app, "second").put([item(leases[3], 2)])
    assert (other.done, other.lost) == ([], {leases[3]})


async def test_an_insert_under_way_holds_its_partition(app: Database, db: Database) -> None:
    """While it runs, a lease that has run out cannot be taken, and can be renewed."""
    first, second = PartitionBook(app, "first", 0.05), PartitionBook(app, "second", 60)
    leases = await _all(first)
    await second.renew(4)
    async with (
        db.transaction() as blocker
    ):  # an insert of the same message that is not committed: the worker's waits for it
        message = envelope("talk-2", "m-1")
        await blocker.execute(
            "INSERT INTO messages (id, conversationid, senderid, content) VALUES ($1, 'x', 'x', 'x')", message.id
        )
        insert = asyncio.create_task(Persister(app, "first").put([item(leases[2], 1)]))
        await asyncio.sleep(0.3)
        taken = await second.take(4)
        assert sorted(each.partition for each in taken) == [0, 1, 3]
        standing = await asyncio.wait_for(first.renew(4), 5)
        assert standing.held == {leases[2]}
    outcome = await insert

    assert (outcome.lost, [each.lease for each in outcome.done]) == (set(), [leases[2]])


async def test_shares_are_even(app: Database) -> None:
    """Sixteen partitions and three workers: six at most for each; what is too much is given back."""
    books = [PartitionBook(app, name, 60) for name in ("a", "b", "c")]
    await _all(books[0], 16)
    for book in books[1:]:
        await book.renew(16)
    standing = await books[0].renew(16)
    assert (standing.share, standing.surplus, standing.room) == (6, 10, 0)
    await books[0].give_back(sorted(standing.held)[6:])
    for book in books[1:]:
        await book.take((await book.renew(16)).room)

    assert sorted([len((await book.renew(16)).held) for book in books]) == [4, 6, 6]
    await books[2].leave()
    assert (await books[0].renew(16)).workers == 2


async def test_an_epoch_is_raised_above_what_redis_remembers(app: Database) -> None:
    """Only the owner's own, and only once."""
    book = PartitionBook(app, "a", 60)
    lease = (await _all(book))[1]
    raised = await book.overtake(lease, 40)

    assert raised == Lease(1, 41)
    assert await book.overtake(lease, 50) is None
    assert await PartitionBook(app, "b", 60).overtake(raised, 50) is None
