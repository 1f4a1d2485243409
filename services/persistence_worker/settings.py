"""What a persistence-worker is told."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from services.kernel.messages.settings import StreamSettings
from services.kernel.settings import CommonSettings, load, setting


@dataclass(frozen=True, kw_only=True)
class PersistenceSettings(CommonSettings, StreamSettings):
    """Settings of one persistence-worker."""

    consumers_enabled: bool = setting(
        "ENABLE_STREAM_CONSUMERS",
        default=True,
        doc="false leaves the messages in the stream, where they wait until it is true again",
    )
    max_retries: int = setting(
        "STREAM_MAX_RETRIES",
        default=3,
        unit="tries",
        minimum=1,
        maximum=20,
        doc="how often PostgreSQL may refuse a message before it is a dead letter; an outage is no refusal",
    )
    retry_seconds: float = setting(
        "STREAM_RETRY_SECONDS",
        default=0.2,
        unit="s",
        minimum=0.001,
        maximum=30,
        doc="wait after the first refusal, doubled with each further one up to 30 s; later messages of the conversation "
        "wait as well",
    )
    poll_interval_ms: int = setting(
        "STREAM_POLL_INTERVAL_MS",
        default=5000,
        unit="ms",
        minimum=1,
        maximum=600_000,
        doc="how often an idle worker asks for entries it was not woken for; it asks every second at least, so that partitions "
        "change hands quickly",
    )
    batch_size: int = setting(
        "STREAM_BATCH_SIZE",
        default=10,
        unit="entries",
        minimum=1,
        maximum=500,
        doc="entries read from one partition at a time; a worker that is behind reads up to 20 times as many",
    )
    keep_seconds: float = setting(
        "STREAM_KEEP_SECONDS",
        default=3600.0,
        unit="s",
        minimum=0,
        maximum=2_592_000,
        doc="how long persisted entries stay in the stream, for those who look there",
    )
    keep_entries: int = setting(
        "STREAM_KEEP_ENTRIES",
        default=10_000,
        unit="entries",
        minimum=0,
        maximum=10_000_000,
        doc="most persisted entries that stay in one partition, however young",
    )
    reservation_seconds: float = setting(
        "MESSAGES_RESERVATION_SECONDS",
        default=3600.0,
        unit="s",
        minimum=60,
        maximum=604_800,
        doc="how long Redis still recognises a repeat by itself once the message has its row, for PostgreSQL may be away",
    )
    lease_seconds: float = setting(
        "STREAM_LEASE_SECONDS",
        default=10.0,
        unit="s",
        minimum=0.5,
        maximum=3600,
        doc="silence of a worker after which others take its partitions; it renews five times as often",
    )
    node_id: str = setting(
        "STREAM_WORKER_ID",
        default="",
        doc="beginning of this worker's name in message_workers; host name and process id when empty",
    )
    statement_seconds: float = setting(
        "DATABASE_STATEMENT_SECONDS",
        default=10.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="longest time one statement may take before PostgreSQL ends it; it is tried again",
    )

    def new_node(self) -> str:
        """This worker's name, with eight digits that no other start of it has."""
        return f"{self.node_id or f'{socket.gethostname()}:{os.getpid()}'}_{secrets.token_hex(4)}"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> PersistenceSettings:
        """Read the settings.

        Raises:
            SettingsInvalid: with every fault found.
        """
        return load(cls, environ)
