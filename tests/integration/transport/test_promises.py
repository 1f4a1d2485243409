"""What holds for every transport, tried with each: Redis' streams, and Kafka's topics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.kernel.errors import BrokerUnavailable
from services.kernel.messages import names
from services.kernel.messages.accepting import Acceptance, Submission
from services.kernel.messages.consuming import NEW, PENDING, Entry, Lease
from services.kernel.messages.envelope import Envelope, decode
from services.kernel.messages.transport import Exit, Transport
from tests.integration.transport.conftest import Opening
from tests.support.streamed import envelope, partition_of
from tests.support.waiting import eventually

TALK = partition_of("talk")
WHY = {"reason": "refused", "attempts": "3", "errorClass": "DatabaseRefused", "error": "It says no."}


def talk(count: int, *, first: int = 0) -> list[Envelope]:
    """Messages of one conversation."""
    return [envelope("talk", f"m-{number}") for number in range(first, first + count)]


async def accept(transport: Transport, *messages: Envelope) -> list[Acceptance]:
    """Have messages accepted."""
    wanted = [Submission(each, names.partition_hash(each.conversation_id)) for each in messages]
    return await transport.entrance.accept(wanted)


async def read(leaving: Exit, lease: Lease, count: int, after: str = NEW) -> list[Entry]:
    """So many entries; waits for them."""
    found: list[Entry] = []

    async def enough() -> bool:
        (delivery,) = await leaving.read(
            [(lease, found[-1].entry_id if found and after != NEW else after)], count - len(found)
        )
        assert not delivery.succeeded_by
        assert delivery.has_group
        found.extend(delivery.entries)
        if len(found) < count:
            await leaving.wait({lease.partition: found[-1].entry_id if found else "0-0"}, 0.2)
        return len(found) >= count

    await eventually(enough)
    return found


def ids(entries: Sequence[Entry]) -> list[str]:
    """The messages in entries."""
    return [decode(each.body or b"").client_message_id for each in entries]


async def owner(opening: Opening, name: str, epoch: int) -> tuple[Transport, Lease]:
    """A worker that has taken the partition over."""
    transport, lease = await opening(name), Lease(TALK, epoch)
    assert (await transport.exit.take_over(lease)).succeeded_by == 0
    return transport, lease


async def test_a_message_is_accepted_once(opening: Opening) -> None:
    """A repeat is answered from the first one, in the same call, at another api and many times at once."""
    one, other = await opening("one"), await opening("other")
    (first,) = await accept(one, envelope("talk", "m-0"))
    again = [*await accept(one, envelope("talk", "m-0")), *await accept(other, envelope("talk", "m-0", "Other words"))]
    many = await asyncio.gather(*(accept(each, envelope("talk", "m-1")) for each in [one, other] * 10))
    found = await one.entrance.find(envelope("talk", "m-0").id)

    assert first.is_new
    assert first.state == "pending"
    assert [(each.is_new, each.is_same, each.accepted_at) for each in again] == [
        (False, True, first.accepted_at),
        (False, False, first.accepted_at),
    ]
    assert [each.is_new for (each,) in many].count(True) == 1
    assert found is not None
    assert (found.envelope, found.accepted_at, found.failure) == (envelope("talk", "m-0"), first.accepted_at, None)
    assert await one.entrance.find(envelope("talk", "m-9").id) is None
    assert await one.entrance.reserved([envelope("talk", "m-9").id]) == [None]


async def test_a_partition_is_read_in_its_order(opening: Opening) -> None:
    """As accepted, in batches; acceptance's time is the entry's."""
    transport, lease = await owner(opening, "one", 1)
    answers = await accept(transport, *talk(20))
    entries = await read(transport.exit, lease, 7)
    entries += await read(transport.exit, lease, 13)

    assert ids(entries) == [f"m-{number}" for number in range(20)]
    assert [int(each.accepted.partition("-")[0]) for each in entries] == [
        round(each.accepted_at.timestamp() * 1000) for each in answers
    ]
    assert not (await transport.exit.read([(lease, NEW)], 5))[0].entries


async def test_what_was_not_settled_comes_again_in_order(opening: Opening) -> None:
    """To the same owner and to the next one; what was settled does not, whatever lies before it."""
    one, lease = await owner(opening, "one", 1)
    await accept(one, *talk(20))
    entries = await read(one.exit, lease, 8)
    settled = [entries[each].entry_id for each in (0, 2, 5)]
    assert await one.exit.settle({lease: settled}) == set()
    assert ids(await read(one.exit, lease, 5, PENDING)) == ["m-1", "m-3", "m-4", "m-6", "m-7"]
    other, later = await opening("other"), Lease(TALK, 2)
    found = await other.exit.take_over(later)
    pending = await read(other.exit, later, 5, PENDING)
    assert found.taken >= 5
    assert ids(pending)[:5] == ["m-1", "m-3", "m-4", "m-6", "m-7"]
    pending += await read(other.exit, later, found.taken - 5, pending[-1].entry_id) if found.taken > 5 else []
    rest = await read(other.exit, later, 17 - len(pending)) if len(pending) < 17 else []

    assert ids([*pending, *rest]) == ["m-1", "m-3", "m-4", "m-6", "m-7", *(f"m-{number}" for number in range(8, 20))]


async def test_an_earlier_owner_is_refused(opening: Opening) -> None:
    """It reads nothing, settles nothing, buries nothing and notes nothing; the later one has it all."""
    one, lease = await owner(opening, "one", 1)
    await accept(one, *talk(4))
    entries = await read(one.exit, lease, 4)
    other, _ = await owner(opening, "other", 2)

    assert await one.exit.settle({lease: [entries[0].entry_id]}) == {TALK}
    assert await one.exit.bury(lease, entries[1].entry_id, "", WHY) is None
    assert await one.exit.touch(lease, entries[2].entry_id) is None
    (delivery,) = await one.exit.read([(lease, NEW)], 4)
    assert delivery.succeeded_by == 2 or not delivery.has_group
    assert not delivery.entries
    assert (await one.exit.take_over(lease)).succeeded_by == 2
    assert await other.letters.count() == 0
    refused = await opening("late")
    assert (await refused.exit.take_over(Lease(TALK, 1))).succeeded_by == 2
    again, latest = await owner(opening, "again", 3)
    assert ids(await read(again.exit, latest, 4, PENDING)) == ["m-0", "m-1", "m-2", "m-3"]
    assert await again.exit.settle({latest: [entries[0].entry_id]}) == set()


async def test_who_has_not_begun_is_given_nothing(opening: Opening) -> None:
    """Under an epoch that nobody has taken the partition over with."""
    transport, lease = await owner(opening, "one", 1)
    await accept(transport, *talk(1))
    (delivery,) = await transport.exit.read([(Lease(TALK, 5), NEW)], 4)

    assert not delivery.has_group
    assert not delivery.entries
    assert ids(await read(transport.exit, lease, 1)) == ["m-0"]


async def test_dead_letters_go_back_once(opening: Opening) -> None:
    """With their reason and their time of acceptance, behind what came meanwhile; a repeat is told that they failed."""
    transport, lease = await owner(opening, "one", 1)
    await transport.exit.prepare()
    first, *_ = await accept(transport, *talk(3))
    entries = await read(transport.exit, lease, 3)
    dead = envelope("talk", "m-0")
    assert await transport.exit.bury(lease, entries[0].entry_id, dead.id, WHY) is True
    assert await transport.exit.bury(lease, entries[0].entry_id, dead.id, WHY) is False
    assert await transport.exit.settle({lease: [each.entry_id for each in entries[1:]]}) == set()
    (letter,) = await transport.letters.page()
    found = await transport.entrance.find(dead.id)
    (repeat,) = await accept(transport, dead)

    assert (letter.entry_id, letter.partition, letter.envelope) == (entries[0].entry_id, TALK, dead)
    assert (letter.reason, letter.error, letter.attempts) == ("refused", "It says no.", 3)
    assert await transport.letters.page(letter.letter_id) == []
    assert found is not None
    assert (found.failure, found.accepted_at) == ("refused", first.accepted_at)
    assert (repeat.is_new, repeat.state) == (False, "failed")

    async def replayed() -> int:
        try:
            return await transport.letters.replay([letter.letter_id])
        except BrokerUnavailable:  # somebody else was quicker
            return 0

    assert sum(await asyncio.gather(*(replayed() for _ in range(4)))) <= 1
    await eventually(lambda: _no_letters(transport, letter.letter_id))
    (entry,) = await read(transport.exit, lease, 1)
    assert ids([entry]) == ["m-0"]
    assert entry.accepted == entries[0].entry_id
    assert not (await transport.exit.read([(lease, NEW)], 1))[0].entries
    assert await transport.letters.replay_all() == 0
    found = await transport.entrance.find(dead.id)
    assert found is not None
    assert (found.failure, found.accepted_at) == (None, first.accepted_at)
    (repeat,) = await accept(transport, dead)
    assert (repeat.is_new, repeat.state) == (False, "pending")


async def _no_letters(transport: Transport, letter_id: str) -> bool:
    """Replay until it is gone: of several who replay at once, all may be refused."""
    if await transport.letters.count():
        await transport.letters.replay([letter_id])
    return await transport.letters.count() == 0


async def test_notes_of_entries_that_are_handled_alone_outlive_their_owners(opening: Opening) -> None:
    """What was begun is counted until it is survived or settled."""
    one, lease = await owner(opening, "one", 1)
    await accept(one, *talk(2))
    entries = await read(one.exit, lease, 2)
    assert await one.exit.touch(lease, entries[0].entry_id) == 1
    assert await one.exit.touch(lease, entries[1].entry_id) == 1
    await one.exit.survive(lease, entries[1].entry_id)
    other, later = await owner(opening, "other", 2)
    await read(other.exit, later, 2, PENDING)

    assert await other.exit.touch(later, entries[0].entry_id) == 2
    assert await other.exit.touch(later, entries[1].entry_id) == 1


async def test_lag_is_what_is_not_settled(opening: Opening) -> None:
    """Of partitions that are somebody's and of those that are nobody's; 0 when all is through, also after a replay."""
    transport, lease = await owner(opening, "one", 1)
    await accept(transport, *talk(5))
    assert await transport.exit.lags([TALK, TALK ^ 1]) == {TALK: 5, TALK ^ 1: 0}
    entries = await read(transport.exit, lease, 5)
    assert await transport.exit.lags([TALK]) == {TALK: 5}
    await transport.exit.settle({lease: [each.entry_id for each in entries[:4]]})
    assert await transport.exit.lags([TALK]) == {TALK: 1}
    await transport.exit.bury(lease, entries[4].entry_id, "", WHY)
    assert await transport.exit.lags([TALK]) == {TALK: 0}
    assert await transport.letters.replay_all() == 1
    (entry,) = await read(transport.exit, lease, 1)
    await transport.exit.settle({lease: [entry.entry_id]})

    async def through() -> bool:
        await transport.exit.wait({TALK: entry.entry_id}, 0.05)
        return await transport.exit.lags([TALK]) == {TALK: 0}

    await eventually(through)
    assert await transport.exit.partitions(1) == 16


async def test_nothing_that_is_not_settled_is_cut_off(opening: Opening) -> None:
    """With nothing to keep; and what is settled stays for as long as asked."""
    one, lease = await owner(opening, "one", 1)
    await accept(one, *talk(10))
    assert await one.trimming.trim(TALK, keep_seconds=0, keep_entries=0) == 0
    entries = await read(one.exit, lease, 6)
    await one.exit.settle({lease: [each.entry_id for each in [*entries[:3], *entries[4:]]]})
    assert await one.trimming.trim(TALK, keep_seconds=3600, keep_entries=100) == 0
    assert await one.trimming.trim(TALK, keep_seconds=0, keep_entries=0) == 3
    other, later = await owner(opening, "other", 2)
    pending = (await other.exit.read([(later, PENDING)], 10))[0].entries
    rest = await read(other.exit, later, 5 - len(pending)) if len(pending) < 5 else []

    assert ids([*pending, *rest]) == ["m-3", "m-6", "m-7", "m-8", "m-9"]


@pytest.mark.parametrize("body", ["", "nonsense"])
async def test_what_is_no_message_is_given_as_it_is(opening: Opening, body: str) -> None:
    """The reader decides; here it could not be accepted in the first place, so it is a letter that came back without one."""
    transport, lease = await owner(opening, "one", 1)
    broken = envelope("talk", body or "m-0", v=9)
    await accept(transport, broken)
    (entry,) = await read(transport.exit, lease, 1)

    assert entry.body is not None
    assert b'"v":9' in entry.body
    assert await transport.exit.bury(lease, entry.entry_id, "", WHY) is True
    (letter,) = await transport.letters.page()
    assert letter.envelope is None
    assert await transport.letters.replay_all() == 1
    (again,) = await read(transport.exit, lease, 1)
    assert (again.body, again.accepted) == (entry.body, entry.entry_id)
