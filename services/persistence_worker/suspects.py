"""Entries that were in hand when PostgreSQL broke off: one of them may be what it crashes of.

Promises: after a break fewer entries are tried at once, half as many with each further one, until all that were in hand are
through or one is left. That one is condemned when PostgreSQL has answered, was given it alone and broke off, `CRASHES` times
without anything of its own getting through between. Whoever was in hand by chance gets through, and is suspected no longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.persistence_worker.items import Item

CRASHES: Final = 3
"""As many servers may die of an entry as workers."""

_Key = tuple[int, str]


class Suspects:
    """The suspicions of one who writes."""

    def __init__(self) -> None:
        self._suspected: set[_Key] = set()
        self._most = 0
        self._alone: tuple[_Key, int] | None = None
        self._condemned: set[_Key] = set()

    @property
    def is_any(self) -> bool:
        """Whether anything is suspected: then PostgreSQL is to be asked whether it answers before it is given something."""
        return bool(self._suspected)

    def condemned(self, items: Sequence[Item]) -> list[Item]:
        """Those of the items that are not to be tried again."""
        return [each for each in items if _key(each) in self._condemned] if self._condemned else []

    def parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """The items in as many statements as they are to be tried in; when none of the suspected came back, in one."""
        if self._suspected and items and not any(_key(each) in self._suspected for each in items):
            self._acquit()
        first = 0
        while first < len(items):
            most = self._most or len(items)
            yield items[first : first + most]
            first += most

    def broke_off(self, items: Sequence[Item], *, has_answered: bool) -> None:
        """PostgreSQL broke off with these in hand. `has_answered`: it was there a moment before."""
        self._suspected = {_key(each) for each in items}
        self._most = max(1, len(items) // 2)
        if len(items) > 1 or not has_answered:
            return
        (key,) = self._suspected
        times = 1 + (self._alone[1] if self._alone is not None and self._alone[0] == key else 0)
        self._alone = key, times
        if times >= CRASHES:
            self._condemned.add(key)
            self._acquit()

    def got_through(self, items: Sequence[Item]) -> None:
        """These were written, or refused one by one."""
        self._suspected -= {_key(each) for each in items}
        if not self._suspected:
            self._acquit()

    def _acquit(self) -> None:
        self._suspected.clear()
        self._most, self._alone = 0, None


def _key(item: Item) -> _Key:
    return item.lease.partition, item.entry.entry_id
