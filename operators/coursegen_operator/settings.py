"""The operator's settings. It has no database and no queue: it speaks to the API server alone."""

from __future__ import annotations

import dataclasses
import secrets
import socket
from collections.abc import Mapping

from services.kernel.lease.record import Timers
from services.kernel.settings import ProcessSettings, load, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorSettings(ProcessSettings):
    """What the operator is told."""

    watch_namespaces: tuple[str, ...] = setting(
        "OPERATOR_WATCH_NAMESPACES",
        default=(),
        doc="namespaces that it looks after, comma-separated; all of them when empty. With names, no call goes beyond those "
        "namespaces but that for the Prometheus or ThanosRuler which an AlertPolicy names (prometheusSelector): no ClusterRole "
        "is needed",
    )
    election: str = setting(
        "OPERATOR_ELECTION",
        default="lease",
        choices=("lease", "none"),
        doc="how the one operator that reconciles is found: lease = a Kubernetes Lease; none = this is the only one",
    )
    replicas: int = setting(
        "OPERATOR_REPLICAS",
        default=1,
        unit="operators",
        minimum=0,
        maximum=100,
        doc="how many operators the deployment runs; more than one is refused without an election",
    )
    lease_name: str = setting("OPERATOR_LEASE_NAME", default="coursegen-operator", doc="name of the Lease")
    lease_namespace: str = setting(
        "OPERATOR_LEASE_NAMESPACE", default="", doc="namespace of the Lease; empty for the pod's own"
    )
    lease_seconds: int = setting(
        "OPERATOR_LEASE_SECONDS",
        default=15,
        unit="s",
        minimum=1,
        maximum=3600,
        doc="silence of the leader after which a standby may take the Lease; must be more than OPERATOR_LEASE_RENEW_SECONDS",
    )
    lease_renew_seconds: float = setting(
        "OPERATOR_LEASE_RENEW_SECONDS",
        default=10.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="how long the leader leads on without an answer of the API server; must be more than 1.2 times "
        "OPERATOR_LEASE_RETRY_SECONDS",
    )
    lease_retry_seconds: float = setting(
        "OPERATOR_LEASE_RETRY_SECONDS",
        default=2.0,
        unit="s",
        minimum=0.05,
        maximum=3600,
        doc="how often the leader renews the Lease, and the others look at it",
    )
    pod_name: str = setting(
        "OPERATOR_POD_NAME", default="", doc="name of the pod, as Lease and Events show it; else the host's"
    )
    resync_seconds: float = setting(
        "OPERATOR_RESYNC_SECONDS",
        default=600.0,
        unit="s",
        minimum=1,
        maximum=86_400,
        doc="how often every resource is looked at although nothing has happened, give or take a tenth: what a watch has missed "
        "is noticed by then",
    )
    workers: int = setting(
        "OPERATOR_WORKERS",
        default=16,
        unit="resources",
        minimum=1,
        maximum=256,
        doc="most resources reconciled at once; one resource is never reconciled twice at a time",
    )
    call_seconds: float = setting(
        "OPERATOR_CALL_SECONDS",
        default=15.0,
        unit="s",
        minimum=0.5,
        maximum=300,
        doc="longest wait for an answer of the API server; the call is made again later",
    )

    def __post_init__(self) -> None:
        if self.election == "none" and self.replicas > 1:
            raise ValueError(
                "OPERATOR_ELECTION: none is for a single operator, and OPERATOR_REPLICAS says there are more; choose lease"
            )
        _ = self.timers  # says what does not fit

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
            variables="OPERATOR_LEASE",
        )

    @property
    def instance(self) -> str:
        """Who this is, as Events show it."""
        return self.pod_name or socket.gethostname()

    def new_identity(self) -> str:
        """The holder that the Lease shows: the pod, and eight digits that no other start of it has."""
        return f"{self.instance}_{secrets.token_hex(4)}"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> OperatorSettings:
        """Read the settings.

        Raises:
            SettingsInvalid: with every fault found.
        """
        return load(cls, environ)
