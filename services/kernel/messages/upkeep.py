"""Looking after the streams: what was persisted long ago is cut off, and partitions are divided when there are too few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.kernel.errors import InvalidInput
from services.kernel.messages.consumer_scripts import ConsumerScripts
from services.kernel.messages.settings import MOST_PARTITIONS

if TYPE_CHECKING:
    from redis.asyncio import Redis

_LOOK: Final = 20
"""Entries that one cut looks at: they are read with all they hold, a mebibyte each at most."""
_MOST_CUTS: Final = 1000


class Upkeep:
    """Keeps the streams of one Redis in shape."""

    def __init__(self, redis: Redis) -> None:
        self._scripts = ConsumerScripts(redis)

    async def trim(self, partition: int, *, keep_seconds: float, keep_entries: int) -> int:
        """Cut off settled entries that are older than `keep_seconds`, or more than `keep_entries`; how many.

        What was not settled is never cut off, nor what comes after it.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        removed = 0
        for _ in range(_MOST_CUTS):
            cut, more = await self._scripts.run("trim", partition, round(keep_seconds * 1000), keep_entries, _LOOK)
            removed += cut
            if not (cut and more):
                break
        return removed

    async def repartition(self, count: int, *, present: int) -> None:
        """Have twice as many partitions: one atomic change, after which half of each partition's conversations go to a new one.

        A new partition is read when everything before the change is settled in the one it comes from, so each conversation keeps
        its order. Nothing happens when there are `count` already.

        Args:
            count: how many there are to be.
            present: how many there are, unless Redis says so itself.

        Raises:
            InvalidInput: `count` is not twice as many as there are, or too many; or the last change is not through.
            BrokerUnavailable: Redis does not answer.
        """
        if count > MOST_PARTITIONS:
            raise InvalidInput(f"There can be {MOST_PARTITIONS} partitions at most, not {count}.")
        old, waiting = await self._scripts.run("repartition", count, present)
        if waiting:
            raise InvalidInput(
                f"{waiting} of the {old} partitions still wait for entries from before the last change; "
                f"`coursegen messages status` shows them. Try again when they are persisted."
            )
        if count not in {old, 2 * old}:
            raise InvalidInput(f"There are {old} partitions; they can be made {2 * old} at a time, not {count}.")
