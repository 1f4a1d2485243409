"""The Lease in a Kubernetes API server, and the way to that server: the one module of the kernel that imports lightkube.

lightkube finds the server itself: the pod's service account, else the file that KUBECONFIG names, else ~/.kube/config. It
reads a service account's token anew when the old one is refused.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig, SingleConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.core.exceptions import ConfigError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event

from services.kernel.errors import SettingsInvalid
from services.kernel.lease.api import LeaseConflict, LeaseUnavailable
from services.kernel.lease.record import LeaseRecord
from services.kernel.logs import get_logger

_log = get_logger(__name__)

_NOT_FOUND = 404
_CONFLICT = 409
_REFUSED = (401, 403)
_NO_ANSWER = (httpx2.HTTPError, httpx2.StreamError, ConfigError, OSError, ValueError)


def cluster_trust(config: SingleConfig) -> ssl.SSLContext:
    """What the API server must prove: a chain to the cluster's own authority, no other, and its host name.

    The authorities of many clusters lack extensions that RFC 5280 wants, and Python 3.13 refuses those by itself; kubectl does
    not, and neither does this.
    """
    if config.user is None:
        raise ConfigError(f"the context {config.context_name} names no user")
    trust = verify_cluster(config.cluster, config.user, config.abs_file)
    if config.cluster.certificate_auth or config.cluster.certificate_auth_data:
        trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return trust


class KubernetesLease:
    """One Lease, by name and namespace."""

    def __init__(self, client: AsyncClient, name: str, namespace: str, identity: str, component: str) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._component = component
        self._metadata = ObjectMeta()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        name: str,
        namespace: str,
        identity: str,
        call_seconds: float,
        *,
        component: str = "coursegen-outbox-relay",
        setting: str = "RELAY_ELECTION: lease",
    ) -> AsyncIterator[KubernetesLease]:
        """Prepare the connection; nothing is sent yet.

        Args:
            name: of the Lease.
            namespace: of the Lease; empty for the pod's own.
            identity: whose Events these are.
            call_seconds: longest wait for an answer.
            component: who the Events say has left them.
            setting: what to name when there is no cluster to speak to.

        Raises:
            SettingsInvalid: there is no cluster to speak to, or its description cannot be used.
        """
        client = _client(call_seconds, setting)
        try:
            yield cls(client, name, namespace or str(client.namespace), identity, component)
        finally:
            await client.close()

    async def read(self) -> LeaseRecord | None:
        """As `LeaseApi.read`."""
        with _translated(self._name, self._namespace):
            try:
                return self._seen(await self._client.get(Lease, self._name, namespace=self._namespace))
            except ApiError as error:
                if error.response.status_code == _NOT_FOUND:
                    return None
                raise

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.create`."""
        with _translated(self._name, self._namespace):
            return self._seen(await self._client.create(self._lease(record)))

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.update`; labels and annotations stay as they were."""
        with _translated(self._name, self._namespace):
            return self._seen(await self._client.replace(self._lease(record)))

    async def announce(self, message: str) -> None:
        """As `LeaseApi.announce`: what `kubectl describe lease` shows."""
        try:
            await self._client.create(self._event(message))
        except (ApiError, *_NO_ANSWER) as error:
            _log.debug("no Event is left on the Lease", reason=str(error))

    def _seen(self, lease: Lease) -> LeaseRecord:
        self._metadata = lease.metadata or ObjectMeta()
        return _record(lease)

    def _lease(self, record: LeaseRecord) -> Lease:
        kept = self._metadata if record.version else ObjectMeta()
        return Lease(
            metadata=ObjectMeta(
                name=self._name,
                namespace=self._namespace,
                resourceVersion=record.version or None,
                labels=kept.labels,
                annotations=kept.annotations,
                ownerReferences=kept.ownerReferences,
                finalizers=kept.finalizers,
            ),
            spec=LeaseSpec(
                holderIdentity=record.holder,
                leaseDurationSeconds=record.duration_seconds,
                acquireTime=record.acquired_at,
                renewTime=record.renewed_at,
                leaseTransitions=record.transitions,
            ),
        )

    def _event(self, message: str) -> Event:
        now = datetime.now(UTC)
        return Event(
            metadata=ObjectMeta(generateName=f"{self._name}-", namespace=self._namespace),
            involvedObject=ObjectReference(
                apiVersion="coordination.k8s.io/v1", kind="Lease", name=self._name, namespace=self._namespace
            ),
            reason="LeaderElection",
            message=message,
            type="Normal",
            source=EventSource(component=self._component, host=self._identity),
            firstTimestamp=now.replace(microsecond=0),
            lastTimestamp=now.replace(microsecond=0),
            count=1,
        )


def read_access(setting: str) -> tuple[SingleConfig, ssl.SSLContext]:
    """Where the cluster is that this process is in, or is pointed at, and what it must prove; nothing is sent.

    Args:
        setting: what to name when there is no cluster to speak to.

    Raises:
        SettingsInvalid: there is none, or its description cannot be used.
    """
    try:
        config = KubeConfig.from_env().get()
        if config is None:
            raise ConfigError("no context is the current one")
        return config, cluster_trust(config)
    except Exception as error:  # there is no end to what a file that somebody has edited may be
        is_safe = isinstance(error, (ConfigError, OSError))  # others quote the file, and secrets are in it
        reason = str(error) if is_safe else type(error).__name__
        raise SettingsInvalid(
            [f"{setting} needs a pod's service account or a KUBECONFIG that can be used ({reason})"]
        ) from error


def _client(call_seconds: float, setting: str) -> AsyncClient:
    config, trust = read_access(setting)
    transport = httpx2.AsyncHTTPTransport(verify=trust)
    try:
        return AsyncClient(config, timeout=httpx2.Timeout(call_seconds), transport=transport, lazy=False)
    except Exception as error:  # as above: the user's entry is only read now
        raise SettingsInvalid([f"{setting} needs credentials that can be used ({type(error).__name__})"]) from error


def _record(lease: Lease) -> LeaseRecord:
    spec, metadata = lease.spec or LeaseSpec(), lease.metadata or ObjectMeta()
    return LeaseRecord(
        holder=spec.holderIdentity or "",
        duration_seconds=spec.leaseDurationSeconds or 1,
        acquired_at=spec.acquireTime,
        renewed_at=spec.renewTime,
        transitions=spec.leaseTransitions or 0,
        version=metadata.resourceVersion or "",
    )


@contextmanager
def _translated(name: str, namespace: str) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        code = error.response.status_code
        if code in {_CONFLICT, _NOT_FOUND}:
            raise LeaseConflict(f"somebody else has written the Lease {namespace}/{name}") from error
        remedy = f"; see `kubectl auth can-i update lease/{name} -n {namespace}`" if code in _REFUSED else ""
        raise LeaseUnavailable(f"the API server refuses the Lease {namespace}/{name}: {error}{remedy}") from error
    except _NO_ANSWER as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise LeaseUnavailable(f"the API server does not answer ({reason})") from error
