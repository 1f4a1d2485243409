"""Cutting off what was settled (`transport.Trimming`). Kafka's own retention knows nothing of settling and is off."""

from __future__ import annotations

import time

from aiokafka.admin import RecordsToDelete

from services.kernel.messages.kafka.broker import GROUP, Broker, chosen, place


class KafkaTrimming:
    """Keeps the topic short."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def trim(self, partition: int, *, keep_seconds: float, keep_entries: int) -> int:
        """As `Trimming.trim`."""
        where = place(partition)
        settled = chosen([partition], await self._broker.notes(GROUP))[partition]
        async with self._broker.reading(where) as consumer:
            first = await consumer.position(where)
            since = round((time.time() - keep_seconds) * 1000)
            young = (await consumer.offsets_for_times({where: since}))[where]
        cut = min(settled, max(settled if young is None else young.offset, settled - keep_entries))
        if cut <= first:
            return 0
        async with self._broker.admin() as admin:
            await admin.delete_records({where: RecordsToDelete(cut)})
        return int(cut - first)
