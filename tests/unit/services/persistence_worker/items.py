"""Items for tests."""

from __future__ import annotations

from services.kernel.database import DatabaseRefused
from services.kernel.messages.consuming import Entry, Lease
from services.kernel.messages.envelope import encode
from services.persistence_worker.items import Item, Refusal
from tests.support.streamed import envelope

LEASE = Lease(3, 1)


def item(conversation: str, number: int, lease: Lease = LEASE) -> Item:
    """A message in hand."""
    message = envelope(conversation, f"m-{number}")
    return Item(lease, Entry(lease.partition, f"1-{number}", f"1-{number}", encode(message)), message)


def refused(one: Item) -> Refusal:
    """It was refused by a trigger."""
    return Refusal(one, DatabaseRefused("no", sqlstate="P0001"))
