"""The partitions that this worker has at this moment, and where it stands in each.

::

    adopted ──opened──▶ recovering ──▶ re-reading what is pending ──▶ reading what is new ──▶ leaving ──▶ given back
       ▲                (only after                                         │
       │                 another owner)                                     │
       └── an outage: nothing in hand; a new epoch if Redis did not answer ─┘

An entry of a later version stops its partition (`is_paused`), which is looked at again now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from services.kernel.messages.consuming import NEW, PENDING, Lease

Phase = Literal["adopted", "recovering", "reading"]


@dataclass(slots=True, eq=False)
class Share:
    """One partition."""

    lease: Lease
    phase: Phase = "adopted"
    cursor: str = PENDING
    """After which entry to read on."""
    last: str = "0-0"
    """The last entry that anybody was given."""
    was_open: bool = False
    """Whether what is pending of it is this worker's own."""
    is_worn: bool = False
    """Whether a read without an answer may still be on its way to Redis: then only a new epoch keeps it from taking entries."""
    is_leaving: bool = False
    is_gone: bool = False
    """Whether it is this worker's no more."""
    waits: bool = False
    """Whether entries of another partition come first."""

    is_paused: bool = False
    """Whether an entry of a later version stops it."""
    resumes_at: float = 0.0
    """When it is looked at again, by the clock of whoever has paused it."""

    @property
    def partition(self) -> int:
        """Its number."""
        return self.lease.partition

    @property
    def is_ending(self) -> bool:
        """Whether no further entry is to be begun."""
        return self.is_leaving or self.is_gone


class Shares:
    """All of them."""

    def __init__(self) -> None:
        self._by_partition: dict[int, Share] = {}
        self.changed = asyncio.Event()
        """Set when there is something new to look at."""

    def __len__(self) -> int:
        return len(self._by_partition)

    @property
    def partitions(self) -> list[int]:
        """Their numbers."""
        return sorted(self._by_partition)

    @property
    def paused(self) -> int:
        """How many of them an entry of a later version stops."""
        return sum(each.is_paused for each in self._by_partition.values())

    @property
    def leases(self) -> list[Lease]:
        """Their leases."""
        return [each.lease for each in self._by_partition.values()]

    def current(self, lease: Lease) -> Share | None:
        """The share that is held under this very lease."""
        share = self._by_partition.get(lease.partition)
        return share if share is not None and share.lease == lease else None

    def to_open(self) -> list[Share]:
        """Those that were not begun."""
        return [each for each in self._by_partition.values() if each.phase == "adopted" and not each.is_leaving]

    def to_read(self) -> list[Share]:
        """Those that are read by batches."""
        shares = self._by_partition.values()
        return [each for each in shares if each.phase == "reading" and not (each.is_leaving or each.is_paused)]

    def to_give_back(self, busy: Iterable[int]) -> list[Share]:
        """Those that leave and of which nothing is in hand; `busy` is in hand."""
        in_hand = frozenset(busy)
        return [
            each
            for each in self._by_partition.values()
            if each.is_leaving and each.phase != "recovering" and each.partition not in in_hand
        ]

    def adopt(self, leases: Iterable[Lease]) -> None:
        """Have these as well; those that are had under the same lease stay as they are."""
        for lease in leases:
            known = self._by_partition.get(lease.partition)
            if known is None or known.lease.epoch < lease.epoch:
                if known is not None:
                    known.is_gone = True
                self._by_partition[lease.partition] = Share(lease)
                self.changed.set()

    def keep_only(self, leases: Iterable[Lease]) -> list[Share]:
        """Drop those that are not among `leases`, which PostgreSQL says are ours; the dropped ones."""
        ours = {lease.partition for lease in leases}
        gone = [each for each in self._by_partition.values() if each.partition not in ours]
        for share in gone:
            self.drop(share)
        return gone

    def resume(self, now: float, busy: Iterable[int]) -> list[Share]:
        """Have those that were paused until now read again what is pending; they are returned.

        Not those in `busy`: a read of theirs that was begun before the pause would lead past what is pending.
        """
        in_hand = frozenset(busy)
        due = [each for each in self._by_partition.values() if each.is_paused and each.phase == "reading"]
        due = [each for each in due if each.resumes_at <= now and each.partition not in in_hand]
        for share in due:
            share.is_paused, share.cursor = False, PENDING
        return due

    def drop(self, share: Share) -> None:
        """It is somebody else's, or nobody's."""
        share.is_gone = True
        if self._by_partition.get(share.partition) is share:
            del self._by_partition[share.partition]
        self.changed.set()

    def let_go(self, count: int) -> None:
        """Have so many leave, those that leave already included; the highest ones."""
        for partition in sorted(self._by_partition, reverse=True)[:count]:
            self._by_partition[partition].is_leaving = True
        self.changed.set()

    def read_again(self, *, are_worn: bool) -> None:
        """Nothing is in hand any more: open all again. What is pending, perhaps at a stranger, comes before anything new."""
        for share in self._by_partition.values():
            if share.phase == "reading":
                share.phase, share.cursor, share.is_paused = "adopted", PENDING, False
                share.is_worn |= are_worn

    def advance(self, share: Share, last: str | None) -> None:
        """Entries up to `last` are in hand; None when there were none."""
        if last is None:
            share.cursor = NEW
            return
        if share.cursor == NEW:
            share.last = last
        else:
            share.cursor = last
