"""What messages are called in Redis, and which partition a conversation belongs to.

All keys lie in the database `REDIS_STREAM_DB`. The scripts make some of these names themselves; tests compare them.

::

    msg:stream:<partition>   the entries; one field, `envelope`
    msg:count:<partition>    hash: `enqueued`, `settled`; what lies between them is the lag
    msg:partitions           how many partitions there are; the setting counts until the first message is there
    msg:seen:<message id>    the reservation: "<partition>|<entry id>|<digest>", after a replay also "|<first entry's id>",
                             until MESSAGES_RESERVATION_SECONDS after its row is there. It counts only as long as it has no
                             end and its entry is there, or the message is among msg:failed (idle.lua)
    msg:barrier:<partition>  hash: `parent`, and the `last` entry of it that comes before this new partition's first
    msg:epochs               hash: partition -> epoch of its owner; what an earlier owner asks for is refused
    msg:touching:<partition> hash: entries that are handled alone, and how often that was begun; by: the last one, and whose
    msg:dlq                  the dead letters
    msg:failed               hash: message id -> its entry in msg:dlq, until it is replayed, or "kafka|<its id>" where it lies
                             in the topic; what may be discarded is no message, and never in it
    coursegen:installation   whose this database is (services/kernel/installation.py), as in that of the queues
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

STREAM_PREFIX: Final = "msg:stream:"
COUNT_PREFIX: Final = "msg:count:"
SEEN_PREFIX: Final = "msg:seen:"
TOUCHING_PREFIX: Final = "msg:touching:"
BARRIER_PREFIX: Final = "msg:barrier:"
PARTITIONS: Final = "msg:partitions"
EPOCHS: Final = "msg:epochs"
DEAD_LETTERS: Final = "msg:dlq"
FAILED: Final = "msg:failed"
KAFKA_LETTER: Final = "kafka|"
"""Before the id of a letter that lies in Kafka's topic."""

GROUP: Final = "persistence-workers"
"""The group that persists the entries of every partition."""
DEAD_LETTER_GROUP: Final = "dlq-processors"
"""The group that reads the dead letters."""

ENVELOPE: Final = "envelope"
"""The one field of an entry."""
ENQUEUED: Final = "enqueued"
SETTLED: Final = "settled"


def stream(partition: int) -> str:
    """The stream of a partition."""
    return f"{STREAM_PREFIX}{partition}"


def count(partition: int) -> str:
    """The hash that counts what went into a partition and what was settled."""
    return f"{COUNT_PREFIX}{partition}"


def seen(message_id: str) -> str:
    """The reservation of a message."""
    return f"{SEEN_PREFIX}{message_id}"


def barrier(partition: int) -> str:
    """What must be settled before a new partition is read."""
    return f"{BARRIER_PREFIX}{partition}"


def touching(partition: int) -> str:
    """The marks of entries that are handled alone."""
    return f"{TOUCHING_PREFIX}{partition}"


def partition_hash(conversation_id: str) -> int:
    """A conversation's number, the same for ever and everywhere: the first 32 bits of SHA-256 of its UTF-8 (GAP16).

    Its partition is this modulo the number of partitions.
    """
    return int.from_bytes(sha256(conversation_id.encode()).digest()[:4], "big")


def goes_through_stream(conversation_hash: int, percent: int) -> bool:
    """Whether a conversation is among the `percent` of a hundred that go through the stream."""
    return conversation_hash % 100 < percent
