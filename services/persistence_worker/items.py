"""Entries in hand: what was read, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from services.kernel.errors import CoursegenError
from services.kernel.messages.consuming import Delivery, Entry, Lease
from services.kernel.messages.envelope import Envelope, LaterVersion, Undecodable, decode
from services.kernel.messages.refusal import sqlstate_of, tries_before_given_up


class Item(NamedTuple):
    """An entry that can be persisted, under the lease under which it was read."""

    lease: Lease
    entry: Entry
    envelope: Envelope
    read_at: float = 0.0
    """By this process's monotonic clock."""

    @property
    def conversation(self) -> str:
        """The conversation it belongs to."""
        return self.envelope.conversation_id


class Refusal(NamedTuple):
    """An item that PostgreSQL has refused."""

    item: Item
    error: CoursegenError
    attempts: int = 1
    """How often it was refused by now."""

    @property
    def sqlstate(self) -> str:
        """PostgreSQL's five letters, or nothing."""
        return sqlstate_of(self.error)

    def tries(self, most: int) -> int | None:
        """How often it is tried, where `most` is the setting; None: until it gets through."""
        return tries_before_given_up(self.error, most)


@dataclass(slots=True)
class Outcome:
    """What came of items."""

    done: list[Item] = field(default_factory=list)
    """Their rows are committed."""
    new: set[str] = field(default_factory=set)
    """Ids of the messages whose rows were not there before."""
    refused: list[Refusal] = field(default_factory=list)
    crashing: list[Item] = field(default_factory=list)
    """PostgreSQL has crashed of each of them, again and again."""
    waiting: list[Item] = field(default_factory=list)
    """Not tried: an earlier one of their conversation was refused, or there was no time."""
    lost: set[Lease] = field(default_factory=set)
    """These leases are over; nothing of theirs was written."""
    was_divided: bool = False
    """Whether PostgreSQL did not take together what it took one by one."""

    @property
    def blocked(self) -> set[str]:
        """The conversations in which an item was refused, or waits."""
        return {each.item.conversation for each in self.refused} | {each.conversation for each in self.waiting}

    def add(self, other: Outcome) -> None:
        """Take in what came of further items."""
        self.done += other.done
        self.new |= other.new
        self.refused += other.refused
        self.crashing += other.crashing
        self.waiting += other.waiting
        self.lost |= other.lost
        self.was_divided |= other.was_divided


class Readable(NamedTuple):
    """What a delivery holds."""

    items: list[Item]
    bad: list[tuple[Entry, str]]
    """Entries that are no messages, each with what is wrong."""
    later: tuple[Entry, str] | None
    """An entry of a later version and what is to be said of it: nothing after it is among the others."""


def read_items(lease: Lease, delivery: Delivery) -> Readable:
    """The items among the entries of a delivery, as far as this release can read them."""
    found = Readable([], [], None)
    for entry in delivery.entries:
        try:
            found.items.append(Item(lease, entry, read_envelope(entry), delivery.read_at))
        except Undecodable as error:
            found.bad.append((entry, error.message))
        except LaterVersion as error:
            return found._replace(later=(entry, error.message))
    return found


def read_envelope(entry: Entry) -> Envelope:
    """The envelope of an entry.

    Raises:
        Undecodable: it has none that can be read.
        LaterVersion: a later release reads it.
    """
    if entry.body is None:
        raise Undecodable("The entry has no envelope, or was deleted from its stream.")
    return decode(entry.body)
