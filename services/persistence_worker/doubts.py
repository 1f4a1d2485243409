"""Entries of a statement that PostgreSQL has refused with a code that names none of them: it may have failed of one.

Promises: what is doubted is tried alone, after all that is not, and in the order of its conversation; whoever gets through is
doubted no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from services.persistence_worker.items import Item

_MOST: Final = 2_000
"""Who was doubted before so many others is forgotten: it was buried, or is another worker's."""


class Doubts:
    """The doubts of one who writes."""

    def __init__(self) -> None:
        self._doubted: dict[tuple[int, str], None] = {}

    def split(self, items: Sequence[Item]) -> tuple[Sequence[Item], list[Item]]:
        """Those that may go together, and those that go alone, each after what comes before it in its conversation."""
        if not self._doubted:
            return items, []
        wary = {each.conversation for each in items if _key(each) in self._doubted}
        together = [each for each in items if each.conversation not in wary]
        return together, [each for each in items if each.conversation in wary]

    def add(self, items: Iterable[Item]) -> None:
        """One of these may be it."""
        for each in items:
            self._doubted.pop(_key(each), None)
            self._doubted[_key(each)] = None
        while len(self._doubted) > _MOST:
            del self._doubted[next(iter(self._doubted))]

    def got_through(self, items: Iterable[Item]) -> None:
        """These were written."""
        for each in items if self._doubted else ():
            self._doubted.pop(_key(each), None)


def _key(item: Item) -> tuple[int, str]:
    return item.lease.partition, item.entry.entry_id
