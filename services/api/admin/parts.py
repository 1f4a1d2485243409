"""Puts the admin endpoints together on open resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.admin.audit import Audit
from services.api.admin.concurrency import ConcurrencyDesk
from services.api.admin.letters import Letters
from services.api.admin.overview import Overview
from services.api.admin.queues import QueueDesk
from services.api.routes.admin import AdminRoutes
from services.api.routes.concurrency import ConcurrencyRoutes
from services.api.routes.dead_letters import DeadLetterRoutes
from services.api.routes.queues import QueueRoutes
from services.api.routing import RouteGroup
from services.kernel.concurrency import Book, ConcurrencySettings, Limits, Slots
from services.kernel.database import Database
from services.kernel.dead_letters import Aftermath, DeadLetterDesk
from services.kernel.initiation import Bell, CommandHandler
from services.kernel.queue import Inspector
from services.kernel.queue.controls import QueueControls

if TYPE_CHECKING:
    from redis.asyncio import Redis

RELATIONS = (
    "admin_actions",
    "queue_controls",
    "concurrency_limits",
    "relay_nodes",
    "effect_ledger",
    "webhook_deliveries",
)
"""What must exist in the database for them (TRAP33)."""


def admin_routes(
    settings: ConcurrencySettings, db: Database, redis: Redis, commands: CommandHandler, bell: Bell
) -> tuple[RouteGroup, ...]:
    """The admin part of the table.

    Args:
        settings: the limits as they are configured.
        db: the truth.
        redis: a client that waits seconds, not milliseconds: some questions read a whole queue.
        commands: begins the runs that replaying needs.
        bell: wakes the relay.
    """
    inspector = Inspector(redis)
    audit = Audit(db)
    queues = QueueDesk(db, inspector, QueueControls(db, inspector), audit)
    concurrency = ConcurrencyDesk(db, Book(db, redis), Limits(db, settings), audit)
    desk = DeadLetterDesk(db, inspector, Aftermath(inspector, commands, bell, Slots(redis).release))
    return (
        AdminRoutes(Overview(db), audit),
        QueueRoutes(queues),
        ConcurrencyRoutes(concurrency),
        DeadLetterRoutes(Letters(desk, audit)),
    )
