"""What to do about a check that did not pass: the next command, by where the deployment runs, and the page that goes on."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL = "local"
ELSEWHERE = "elsewhere"
CLUSTER = "cluster"

_CHECKLIST = "docs/DEPLOYMENT-CHECKLIST.md"
_RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True)
class Place:
    """Where the deployment runs."""

    kind: str
    """LOCAL, ELSEWHERE or CLUSTER."""
    url: str = ""
    namespace: str = ""
    release: str = ""

    @property
    def name(self) -> str:
        """As people call it."""
        return f"release {self.release} in namespace {self.namespace}" if self.kind == CLUSTER else self.url


@dataclass(frozen=True)
class _Advice:
    local: str
    elsewhere: str
    component: str
    """Whose pods tell more on a cluster; `pods` for all, `log:` before it for its log, INSTALLATIONS for all of the cluster."""
    page: str


_FALLBACKS = 'curl "{url}/api/trpc/metrics.getFallbacks"'
_PROBE = 'curl -i "{url}/api/trpc/metrics.healthCheck"'
_LEADER = "coursegen admin leader"
_OUTBOX = "coursegen admin outbox"
_GIVEN_UP = "coursegen admin events --type job_rollback"
_MIGRATE = "coursegen migrate"
_UP = "coursegen up"
_QUEUES = "coursegen admin queues"

TAKEN = "Redis of another installation"
STREAM_TAKEN = "Redis of the messages of another installation"
"""Who else is there is to be known first: a living installation keeps what it has, one that is gone leaves it to this one."""
INSTALLATIONS = "installations"
PAUSED = "a paused queue"
"""Somebody has paused it: who, and why, is to be known before it is resumed."""
_OWNERS = "docs/MESSAGES.md#looking-for-it"
_CLIENTS = 'redis-cli -u "$REDIS_URL" --no-auth-warning CLIENT LIST'
_STREAM_CLIENTS = (
    'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -h "$REDIS_HOST" -p "${REDIS_PORT:-6379}" --no-auth-warning CLIENT LIST'
)

_ADVICE = {
    "Redis": _Advice(_UP, _QUEUES, "log:outbox-relay", f"{_CHECKLIST}#1-the-processor-does-not-start"),
    "Database": _Advice(_UP, _PROBE, "log:api", f"{_CHECKLIST}#3-initiations-fail"),
    "Migrations": _Advice(_MIGRATE, _MIGRATE, "log:migrate", f"{_RUNBOOKS}/DatabaseMigrationStalled.md"),
    "Tables": _Advice(_MIGRATE, _MIGRATE, "log:migrate", f"{_RUNBOOKS}/DatabaseSchemaDrift.md"),
    "API": _Advice(_UP, _PROBE, "api", f"{_RUNBOOKS}/SystemHealthCheckFailed.md"),
    "Outbox": _Advice(_LEADER, _LEADER, "outbox-relay", f"{_RUNBOOKS}/OutboxProcessorStalled.md"),
    "FSM": _Advice(_GIVEN_UP, _GIVEN_UP, "log:api", f"{_RUNBOOKS}/FsmFailureRateHigh.md"),
    "Fallbacks": _Advice(_FALLBACKS, _FALLBACKS, "log:worker-analysis", f"{_RUNBOOKS}/FallbackFrequencyHigh.md"),
    "Pending Jobs": _Advice(_OUTBOX, _OUTBOX, "pods", f"{_RUNBOOKS}/OutboxQueueDepthHigh.md"),
    "Events": _Advice(_GIVEN_UP, _GIVEN_UP, "log:api", f"{_RUNBOOKS}/FsmFailureRateHigh.md"),
    PAUSED: _Advice(_QUEUES, _QUEUES, "log:outbox-relay", f"{_RUNBOOKS}/StageQueuePaused.md"),
    TAKEN: _Advice(f'eval "$(coursegen env)" && {_CLIENTS}', _CLIENTS, INSTALLATIONS, _OWNERS),
    STREAM_TAKEN: _Advice(_STREAM_CLIENTS, _STREAM_CLIENTS, INSTALLATIONS, _OWNERS),
}
"""By name of the check, or by what else a finding is about."""


def next_command(subject: str, place: Place) -> str:
    """The command to run next when the check `subject` did not pass, or when that is what was found."""
    advice = _ADVICE[subject]
    if place.kind == CLUSTER:
        return _on_cluster(advice.component, place)
    return (advice.local if place.kind == LOCAL else advice.elsewhere).replace("{url}", place.url)


def page(subject: str) -> str:
    """Where to read on."""
    return _ADVICE[subject].page


def _on_cluster(component: str, place: Place) -> str:
    if component == INSTALLATIONS:
        return "kubectl get deployments -A -l app.kubernetes.io/part-of=coursegen,app.kubernetes.io/component=api"
    kubectl = f"kubectl -n {place.namespace}"
    release = f"app.kubernetes.io/instance={place.release}"
    if component == "pods":
        return f"{kubectl} get pods -l {release}"
    name = component.partition("log:")[2] or component
    pods = f"-l {release},app.kubernetes.io/component={name}"
    return f"{kubectl} logs {pods} --tail=20" if component.startswith("log:") else f"{kubectl} get pods {pods}"
