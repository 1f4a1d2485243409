"""What the operator counts. The alerts of the group `operator`, and those on single resources, are made of these names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from operators.coursegen_operator.resources import Object, ObjectKey
from services.kernel import metrics

OUTCOMES: Final = ("unchanged", "changed", "gone", "refused", "retried", "hindered", "failed")
"""`refused`: the API server does not accept a child; `retried`: it did not answer; `hindered`: it did not, look after look;
`failed`: a defect of the operator."""
VERBS: Final = ("get", "list", "watch", "create", "apply", "patch", "delete")
TOLD: Final = (
    "Ready",
    "Stalled",
    "ContractFailed",
    "DriftDetected",
    "Overdue",
    "GuardTripped",
    "RulesSelected",
    "RulesAccepted",
)
"""The conditions that are shown as a gauge."""


class _Metrics:
    """The metrics themselves, made once in a process."""

    def __init__(self) -> None:
        self.reconciles = metrics.counter(
            "coursegen_operator_reconcile", "Looks at a resource, by how they ended", ["kind", "outcome"]
        )
        self.seconds = metrics.histogram("coursegen_operator_reconcile_seconds", "Duration of one look", ["kind"])
        self.conditions = metrics.gauge(
            "coursegen_operator_resource_condition",
            "1 while the condition is True, 0 while it is False, absent while it is Unknown or not there",
            ["kind", "namespace", "name", "type"],
        )
        self.is_leader = metrics.gauge("coursegen_operator_is_leader", "1 while this process reconciles")
        self.queue_depth = metrics.gauge(
            "coursegen_operator_queue_depth", "Resources that are due and not looked at yet"
        )
        self.queue_age = metrics.gauge(
            "coursegen_operator_queue_oldest_seconds", "How long the one that waits longest has been due"
        )
        self.watch_age = metrics.gauge(
            "coursegen_operator_watch_oldest_seconds", "Since when the quietest watch has not been opened anew"
        )
        self.watch_restarts = metrics.counter("coursegen_operator_watch_restarts", "Times that watching began anew")
        self.calls = metrics.counter("coursegen_operator_api_calls", "Calls of the API server, by verb", ["verb"])
        self.refusals = metrics.counter(
            "coursegen_operator_api_failures",
            "Calls of the API server that failed, by what they failed with",
            ["error"],
        )
        self.events = metrics.counter("coursegen_operator_events", "Events written, or dropped", ["outcome"])
        self.renewals = metrics.histogram(
            "coursegen_operator_lease_renew_seconds", "Time in which the API server renewed the Lease"
        )
        self.lease_failures = metrics.counter(
            "coursegen_operator_lease_failures", "Calls about the Lease that failed", ["reason"]
        )
        for verb in VERBS:
            self.calls.labels(verb)
        for outcome in ("written", "dropped"):
            self.events.labels(outcome)
        for reason in ("conflict", "timeout", "unavailable"):
            self.lease_failures.labels(reason)


_METRICS: list[_Metrics] = []


def _metrics() -> _Metrics:
    if not _METRICS:
        _METRICS.append(_Metrics())
    return _METRICS[0]


class Figures:
    """Counts for this process; any number of instances write to the same metrics."""

    def __init__(self, kinds: Sequence[str] = ()) -> None:
        self._show = _metrics()
        self._told: dict[ObjectKey, set[str]] = {}
        for kind in kinds:
            self._show.seconds.labels(kind)
            for outcome in OUTCOMES:
                self._show.reconciles.labels(kind, outcome)

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        """One look at a resource is over."""
        self._show.reconciles.labels(kind, outcome).inc()
        self._show.seconds.labels(kind).observe(seconds)

    def conditions(self, key: ObjectKey, conditions: Sequence[Object]) -> None:
        """What holds of a resource now."""
        known = {each["type"]: each["status"] for each in conditions if each["type"] in TOLD}
        told = {condition for condition, status in known.items() if status in {"True", "False"}}
        for gone in self._told.get(key, set()) - told:
            self._show.conditions.remove(key.kind, key.namespace, key.name, gone)
        for condition in told:
            gauge = self._show.conditions.labels(key.kind, key.namespace, key.name, condition)
            gauge.set(1 if known[condition] == "True" else 0)
        self._told[key] = told

    def forget(self, key: ObjectKey) -> None:
        """The resource is gone, and what was told of it."""
        self.conditions(key, ())
        del self._told[key]

    def forget_all(self) -> None:
        """This process reconciles no more: what it knew may be wrong soon."""
        for key in list(self._told):
            self.forget(key)

    def leads(self, is_leader: bool) -> None:
        """Whether this process reconciles."""
        self._show.is_leader.set(int(is_leader))

    def queue(self, depth: Callable[[], float], age: Callable[[], float]) -> None:
        """Whom to ask for the queue's length and age when metrics are read."""
        self._show.queue_depth.set_function(depth)
        self._show.queue_age.set_function(age)

    def watching(self, age: Callable[[], float]) -> None:
        """Whom to ask for the age of the quietest watch when metrics are read."""
        self._show.watch_age.set_function(age)

    def watch_restarted(self) -> None:
        """Watching begins anew."""
        self._show.watch_restarts.inc()

    def called(self, verb: str) -> None:
        """The API server is asked something."""
        self._show.calls.labels(verb).inc()

    def call_failed(self, error: str) -> None:
        """And has refused, or not answered."""
        self._show.refusals.labels(error).inc()

    def event(self, outcome: str) -> None:
        """An Event was written, or could not be."""
        self._show.events.labels(outcome).inc()

    def lease_renewed(self, seconds: float) -> None:
        """The Lease is held for another while."""
        self._show.renewals.observe(seconds)

    def lease_failed(self, reason: str) -> None:
        """A call about the Lease failed."""
        self._show.lease_failures.labels(reason).inc()
