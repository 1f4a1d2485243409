"""Whether the Prometheus Operator has accepted a PrometheusRule, as far as it tells.

It tells in two ways. With its feature gate `StatusForConfigurationResources` (0.87 and later) `status.bindings` of the rule
names each Prometheus and what became of it. Without, it writes a Warning `InvalidConfiguration` when it refuses a rule, and
nothing when it accepts one: silence is no consent, and stays Unknown. Warnings of others, such as a policy engine that only
reports, refuse nothing. What is older than the rule's last change does not count. Kubernetes drops Events after an hour, and
nobody tells a refusal twice: what was refused by one is remembered for as long as the very same version of the rule is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from operators.coursegen_operator.alerts.selection import Name, name_of
from operators.coursegen_operator.conditions import Standing, find, moment_of
from operators.coursegen_operator.resources import PROMETHEUS_RULE, Object
from services.kernel.logs import scrub_text
from services.kernel.texts import shortened

ACCEPTED: Final = "Accepted"
PARTLY: Final = "PartlyRejected"
"""One has accepted the rule and another refuses it: its alerts can fire, though not everywhere."""
TOLD_BYTES: Final = 700
"""As much of a refusal as a status tells; the condition's next command has room behind it."""
INVALID: Final = "InvalidConfiguration"
"""The reason of its Events, the same of each of its controllers: their names, by which they report, are not."""
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What is known."""

    standing: Standing
    reason: str
    message: str
    by: Mapping[Name, Standing]
    """Per Prometheus or ThanosRuler, where the rule itself says so."""
    refusal: Object | None = None
    """What the status is to remember of the Event that has refused the rule."""


def acceptance(
    rule: Object | None,
    events: Iterable[Object],
    *,
    written_at: object = None,
    may_read_events: bool = True,
    remembered: Object | None = None,
) -> Acceptance:
    """What the Prometheus Operator says of `rule`.

    Args:
        rule: as it is in the cluster.
        events: any of its namespace.
        written_at: when the operator last wrote the rule, as the policy's status has it.
        may_read_events: False: `events` says nothing, since nobody was allowed to look.
        remembered: the `refusal` of an earlier look, as the policy's status has it. It holds for that version only.
    """
    told = _from_bindings(rule) if rule is not None else None
    if told is not None:
        return told
    refusal = _refusal(rule, events, moment_of(written_at), remembered or {}) if rule is not None else None
    if refusal is not None:
        return Acceptance("False", "Rejected", refusal["message"], {}, refusal)
    if not may_read_events:
        return Acceptance("Unknown", "NotPermitted", "the operator may not read Events in this namespace", {})
    return Acceptance(
        "Unknown",
        "NotReported",
        "the Prometheus Operator has not refused the rule, and does not say more without its feature gate "
        "StatusForConfigurationResources",
        {},
    )


def _from_bindings(rule: Object) -> Acceptance | None:
    """The whole is as good as the best of them, as with `RulesSelected`: where one has the rule, its alerts can fire."""
    told: dict[Name, Standing] = {}
    refusals: list[str] = []
    bindings = (rule.get("status") or {}).get("bindings") or ()
    for binding in bindings:
        name, condition = name_of(binding), find(binding.get("conditions") or (), ACCEPTED)
        if name is None or condition is None:
            continue
        told[name] = _current(condition, rule)
        if told[name] == "False":
            refusals.append(f"{name}: {condition.get('message') or condition.get('reason') or 'rejected'}")
    takers = ", ".join(str(name) for name, standing in sorted(told.items()) if standing == "True")
    if takers and refusals:
        return Acceptance("True", PARTLY, f"accepted by {takers}; refused by {'; '.join(refusals)}", told)
    if refusals:
        return Acceptance("False", "Rejected", "; ".join(refusals), told)
    if takers:
        return Acceptance("True", ACCEPTED, f"accepted by {takers}", told)
    if told:
        return Acceptance(
            "Unknown", "Pending", "the Prometheus Operator has not looked at the newest version yet", told
        )
    return None


def _current(condition: Object, rule: Object) -> Standing:
    seen, newest = condition.get("observedGeneration"), rule["metadata"].get("generation")
    if isinstance(seen, int) and isinstance(newest, int) and seen < newest:
        return "Unknown"
    status = condition.get("status")
    return "True" if status == "True" else "False" if status == "False" else "Unknown"


def _refusal(rule: Object, events: Iterable[Object], written_at: datetime | None, remembered: Object) -> Object | None:
    """Of this very version: another uid is another rule, and every change of its spec, also by hand, raises its generation.

    A change of labels or annotations alone does not, and mends no rule.
    """
    version = {field: rule["metadata"][field] for field in ("uid", "generation") if field in rule["metadata"]}
    since = max(changed_at(rule), written_at or _LONG_AGO)
    refusals = [event for event in events if is_refusal(event, rule) and told_at(event) >= since]
    newest = max(refusals, key=told_at, default=None)
    if newest is not None:
        said = str(newest.get("note") or newest.get("reason") or "rejected")
        return {**version, "message": shortened(scrub_text(said), TOLD_BYTES)}
    is_told = bool(remembered) and remembered == {**version, "message": remembered.get("message")}
    return dict(remembered) if is_told else None


def is_refusal(event: Object, rule: Object) -> bool:
    """Whether by `event` the Prometheus Operator says that it cannot use `rule`."""
    regarding, metadata = event.get("regarding") or {}, rule["metadata"]
    return (
        event.get("type") == "Warning"
        and event.get("reason") == INVALID
        and regarding.get("kind") == PROMETHEUS_RULE.kind
        and regarding.get("name") == metadata["name"]
        and regarding.get("uid", metadata.get("uid")) == metadata.get("uid")
    )


def told_at(event: Object) -> datetime:
    """When an Event was last seen."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    moments = [moment for moment in map(moment_of, times) if moment is not None]
    return max(moments, default=moment_of(event.get("metadata", {}).get("creationTimestamp")) or _LONG_AGO)


def changed_at(item: Object) -> datetime:
    """When anybody last changed an object; its status does not count."""
    metadata = item["metadata"]
    writers = [entry for entry in metadata.get("managedFields") or () if entry.get("subresource") != "status"]
    moments = [moment for moment in (moment_of(entry.get("time")) for entry in writers) if moment is not None]
    return max(moments, default=moment_of(metadata.get("creationTimestamp")) or _LONG_AGO)
