"""Names in Redis, and the partition of a conversation."""

from __future__ import annotations

from collections import Counter

from services.kernel.messages import names


def test_a_conversations_number_never_changes() -> None:
    """It is the first 32 bits of SHA-256, as documented: `printf course-1 | sha256sum | head -c 8`."""
    assert names.partition_hash("course-1") == 0xC0E6BC3C
    assert names.partition_hash("курс") == 0xF32485B0


def test_conversations_are_spread_evenly() -> None:
    """Over sixteen partitions, none has half as many again as another."""
    spread = Counter(names.partition_hash(f"conversation-{number}") % 16 for number in range(16_000))

    assert len(spread) == 16
    assert max(spread.values()) < 1.5 * min(spread.values())


def test_a_share_of_the_conversations_goes_through_the_stream() -> None:
    """None, a tenth, all; and who went through it at a tenth still does at a half."""
    hashes = [names.partition_hash(f"conversation-{number}") for number in range(10_000)]
    tenth = {each for each in hashes if names.goes_through_stream(each, 10)}
    half = {each for each in hashes if names.goes_through_stream(each, 50)}

    assert not any(names.goes_through_stream(each, 0) for each in hashes)
    assert all(names.goes_through_stream(each, 100) for each in hashes)
    assert 800 < len(tenth) < 1200
    assert tenth < half


def test_a_tenth_still_uses_every_partition() -> None:
    """The two remainders of one number do not hide partitions from each other."""
    hashes = (names.partition_hash(f"conversation-{number}") for number in range(10_000))

    assert {each % 16 for each in hashes if names.goes_through_stream(each, 10)} == set(range(16))


def test_the_contracts_names() -> None:
    """What people type into redis-cli."""
    assert (names.stream(0), names.stream(15), names.DEAD_LETTERS) == ("msg:stream:0", "msg:stream:15", "msg:dlq")
    assert (names.GROUP, names.DEAD_LETTER_GROUP) == ("persistence-workers", "dlq-processors")
    assert (names.count(3), names.seen("msg_x")) == ("msg:count:3", "msg:seen:msg_x")
    assert (names.barrier(17), names.touching(1)) == ("msg:barrier:17", "msg:touching:1")
