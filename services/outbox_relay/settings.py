"""What the relay is told."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from services.kernel.lease.record import Timers
from services.kernel.settings import CommonSettings, load, setting


@dataclass(frozen=True, kw_only=True)
class RelaySettings(CommonSettings):
    """Settings of one relay process."""

    election: str = setting(
        "RELAY_ELECTION",
        default="postgres",
        choices=("lease", "postgres", "none"),
        doc="how the one leader is found: lease = a Kubernetes Lease; postgres = a session advisory lock; none = this is the "
        "only relay there is",
    )
    replicas: int = setting(
        "RELAY_REPLICAS",
        default=1,
        unit="relays",
        minimum=0,
        maximum=100,
        doc="how many relays the deployment runs; more than one is refused without an election",
    )
    lease_name: str = setting(
        "RELAY_LEASE_NAME",
        default="coursegen-outbox-relay",
        doc="name of the Lease; relays of one deployment share it",
    )
    lease_namespace: str = setting(
        "RELAY_LEASE_NAMESPACE",
        default="",
        doc="namespace of the Lease; the pod's own when empty",
    )
    lease_seconds: int = setting(
        "RELAY_LEASE_SECONDS",
        default=15,
        unit="s",
        minimum=1,
        maximum=3600,
        doc="silence of the leader after which a standby may take the Lease; must be more than RELAY_LEASE_RENEW_SECONDS",
    )
    lease_renew_seconds: float = setting(
        "RELAY_LEASE_RENEW_SECONDS",
        default=10.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="a leader that could not renew the Lease for so long stops; must be more than 1.2 times RELAY_LEASE_RETRY_SECONDS",
    )
    lease_retry_seconds: float = setting(
        "RELAY_LEASE_RETRY_SECONDS",
        default=2.0,
        unit="s",
        minimum=0.05,
        maximum=600,
        doc="how often the leader renews the Lease, and how long a standby waits at most before it asks again",
    )
    node_id: str = setting(
        "RELAY_NODE_ID",
        default="",
        doc="this relay's name in relay_leadership and relay_nodes; host name and process id when empty",
    )
    batch_size: int = setting(
        "RELAY_BATCH_SIZE",
        default=500,
        unit="rows",
        minimum=1,
        maximum=5000,
        doc="rows of one batch; it grows to RELAY_BATCH_MAX while batches are full",
    )
    batch_max: int = setting(
        "RELAY_BATCH_MAX",
        default=2000,
        unit="rows",
        minimum=1,
        maximum=5000,
        doc="largest batch; more rows save nothing and hold Redis up longer",
    )
    batch_bytes: int = setting(
        "RELAY_BATCH_BYTES",
        default=8 * 1024 * 1024,
        unit="bytes",
        minimum=1024,
        maximum=256 * 1024 * 1024,
        doc="most bytes of job bodies in one batch; bounds the relay's memory, since three batches are in hand at once",
    )
    body_bytes: int = setting(
        "RELAY_BODY_BYTES",
        default=4 * 1024 * 1024,
        unit="bytes",
        minimum=1024,
        maximum=128 * 1024 * 1024,
        doc="largest job body; a larger row is dead at once",
    )
    high_water: int = setting(
        "RELAY_HIGH_WATER",
        default=1000,
        unit="jobs",
        minimum=0,
        maximum=10_000_000,
        doc="jobs of one priority that may wait in one queue; the rest waits in PostgreSQL; 0 = no limit",
    )
    backoff_seconds: float = setting(
        "RELAY_BACKOFF_SECONDS",
        default=1.0,
        unit="s",
        minimum=0.001,
        maximum=3600,
        doc="wait after a row's first transient failure; doubled with each further one, with jitter",
    )
    reconcile_seconds: float = setting(
        "RELAY_RECONCILE_SECONDS",
        default=5.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="how often the leader looks for jobs that Redis has lost; a job counts as lost when two looks in a row miss it",
    )
    stale_seconds: float = setting(
        "RELAY_STALE_SECONDS",
        default=15.0,
        unit="s",
        minimum=2,
        maximum=3600,
        doc="a leader not heard of for so long is unseated by a standby",
    )

    def __post_init__(self) -> None:
        if self.batch_max < self.batch_size:
            raise ValueError("RELAY_BATCH_MAX: must be at least RELAY_BATCH_SIZE")
        if self.election == "none" and self.replicas > 1:
            raise ValueError(
                "RELAY_ELECTION: none is for a single relay, and RELAY_REPLICAS says there are more; choose lease or postgres"
            )
        _ = self.timers  # says what does not fit

    @property
    def name(self) -> str:
        """The node's name, made up when none was given."""
        return self.node_id or f"{socket.gethostname()}:{os.getpid()}"

    @property
    def timers(self) -> Timers:
        """The timers of the Lease.

        Raises:
            ValueError: they do not fit together.
        """
        return Timers(
            lease_seconds=self.lease_seconds,
            renew_seconds=self.lease_renew_seconds,
            retry_seconds=self.lease_retry_seconds,
        )

    def new_identity(self) -> str:
        """The holder that the Lease shows: the pod, and eight digits that no other start of it has."""
        return f"{self.node_id or socket.gethostname()}_{secrets.token_hex(4)}"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> RelaySettings:
        """Read the settings.

        Raises:
            SettingsInvalid: with every fault found.
        """
        return load(cls, environ)
