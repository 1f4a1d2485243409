"""Conversations that wait, because PostgreSQL has refused a message of theirs.

The refused message is tried again after a while, alone; what was read of its conversation meanwhile waits behind it, and goes
on when it is written or buried. All of it is pending in the stream: whoever takes the partition over finds it there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.kernel.clock import Clock
from services.kernel.messages.consuming import Lease
from services.persistence_worker.items import Item, Outcome, Refusal

_LONGEST_RETRY_SECONDS: Final = 30.0
"""Later messages of the conversation wait as long."""
_MOST_DOUBLINGS: Final = 60
"""More than lead from the shortest first wait to the longest: some messages are tried for ever, and a float has an end."""


def retry_seconds_after(first: float, attempts: int) -> float:
    """How long to wait after so many refusals of a message: `first`, doubled with each, but never for long."""
    return min(first * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS), _LONGEST_RETRY_SECONDS)


@dataclass(slots=True)
class _Queue:
    """What waits of one conversation."""

    due: float
    attempts: int = 0
    """How often the first of them was refused."""
    charged: int = 0
    """As often in a way that does not pass by itself."""
    items: deque[Item] = field(default_factory=deque)


class Held:
    """Everything that waits."""

    def __init__(self, clock: Clock, max_retries: int, retry_seconds: float) -> None:
        self._clock = clock
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._queues: dict[str, _Queue] = {}

    def by_partition(self) -> Counter[int]:
        """How much waits of each partition."""
        found = Counter[int]()
        for queue in self._queues.values():
            found[queue.items[0].lease.partition] += len(queue.items)
        return found

    @property
    def seconds(self) -> float | None:
        """How long until something is to be tried again; None when nothing waits."""
        if not self._queues:
            return None
        return max(0.0, min(queue.due for queue in self._queues.values()) - self._clock.monotonic())

    def due(self) -> list[Item]:
        """What is to be tried now: of each conversation the refused message, or all when that is through. They stay here."""
        now = self._clock.monotonic()
        found: list[Item] = []
        for queue in self._queues.values():
            if queue.due <= now:
                found += [queue.items[0]] if queue.attempts else queue.items
        return found

    def keep_back(self, items: Iterable[Item]) -> list[Item]:
        """Have those of waiting conversations wait as well; the others.

        Recovery leaves a refused entry here, which is then read again with all that is pending: it waits once.
        """
        passed = []
        for item in items:
            queue = self._queues.get(item.conversation)
            if queue is None:
                passed.append(item)
            elif item.entry != queue.items[0].entry:
                queue.items.append(item)
        return passed

    def learn(self, outcome: Outcome) -> list[Refusal]:
        """Note what came of items; those that were refused too often, which wait no longer, each with how often.

        Refusals that pass by themselves are not counted towards that (`Refusal.tries`): they lengthen the wait only.
        """
        self._remove([*outcome.done, *outcome.crashing])
        given_up = [
            each._replace(attempts=self._queue(each.item).attempts)
            for each in outcome.refused
            if self._is_given_up(each)
        ]
        self._remove([each.item for each in given_up])
        for item in outcome.waiting:
            queue = self._queue(item)
            if item not in queue.items:
                queue.items.append(item)
        return given_up

    def drop(self, lease: Lease) -> None:
        """Forget what was read under a lease that is over."""
        for conversation, queue in list(self._queues.items()):
            if queue.items[0].lease == lease:
                del self._queues[conversation]

    def keep_only(self, leases: Collection[Lease]) -> None:
        """Forget what was read under other leases than these."""
        for lease in {queue.items[0].lease for queue in self._queues.values()} - set(leases):
            self.drop(lease)

    def clear(self) -> None:
        """Forget everything: it will be read again."""
        self._queues.clear()

    def _is_given_up(self, refusal: Refusal) -> bool:
        queue = self._queue(refusal.item)
        if refusal.item not in queue.items:
            queue.items.append(refusal.item)
        queue.attempts += 1
        queue.due = self._clock.monotonic() + retry_seconds_after(self._retry_seconds, queue.attempts)
        tries = refusal.tries(self._max_retries)
        if tries is None:
            return False
        queue.charged += 1
        return queue.charged >= tries

    def _remove(self, items: Sequence[Item]) -> None:
        for item in items if self._queues else ():
            queue = self._queues.get(item.conversation)
            if queue is None or item not in queue.items:
                continue
            queue.items.remove(item)
            queue.attempts, queue.charged, queue.due = 0, 0, self._clock.monotonic()
            if not queue.items:
                del self._queues[item.conversation]

    def _queue(self, item: Item) -> _Queue:
        return self._queues.setdefault(item.conversation, _Queue(self._clock.monotonic()))
