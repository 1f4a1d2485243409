"""The kinds of resource that the operator reads or writes, and what names one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]
"""An object of Kubernetes as JSON."""

GROUP: Final = "ops.coursegen.dev"
VERSION: Final = "v1alpha1"
CATEGORY: Final = "coursegen"

ANNOTATION_RECONCILE_AT: Final = f"{GROUP}/reconcile-at"
ANNOTATION_APPROVE: Final = f"{GROUP}/approve"
ANNOTATION_RUN_NOW: Final = f"{GROUP}/run-now"
ANNOTATION_BACKUP: Final = f"{GROUP}/backup"

LABEL_OWNER_UID: Final = f"{GROUP}/owner-uid"
LABEL_TASK: Final = f"{GROUP}/task"
LABEL_MIGRATIONS: Final = f"{GROUP}/migrations"
"""Of a Deployment and its pods: the image of the migrations that they were rolled out with, as a hash of sixteen characters."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

FIELD_MANAGER: Final = "coursegen-operator"
"""Who owns the fields that the operator applies, and the value of `LABEL_MANAGED_BY`."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind, and where the API server has it."""

    group: str
    version: str
    kind: str
    plural: str
    short: str = ""

    @property
    def api_version(self) -> str:
        """As an object names it."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """One object: what the queue and the store know it by."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def key_of(item: Object) -> ObjectKey:
    """The key of an object that the API server has shown."""
    metadata = item["metadata"]
    return ObjectKey(item["kind"], metadata.get("namespace", ""), metadata["name"])


DATABASE_MIGRATION: Final = ResourceType(GROUP, VERSION, "DatabaseMigration", "databasemigrations", "dbm")
RETENTION_POLICY: Final = ResourceType(GROUP, VERSION, "RetentionPolicy", "retentionpolicies", "rtp")
ALERT_POLICY: Final = ResourceType(GROUP, VERSION, "AlertPolicy", "alertpolicies", "alp")

JOB: Final = ResourceType("batch", "v1", "Job", "jobs")
CRON_JOB: Final = ResourceType("batch", "v1", "CronJob", "cronjobs")
PROMETHEUS_RULE: Final = ResourceType("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules")
POD: Final = ResourceType("", "v1", "Pod", "pods")

DEPLOYMENT: Final = ResourceType("apps", "v1", "Deployment", "deployments")
PROMETHEUS: Final = ResourceType("monitoring.coreos.com", "v1", "Prometheus", "prometheuses")
THANOS_RULER: Final = ResourceType("monitoring.coreos.com", "v1", "ThanosRuler", "thanosrulers")
NAMESPACE: Final = ResourceType("", "v1", "Namespace", "namespaces")
EVENT: Final = ResourceType("events.k8s.io", "v1", "Event", "events")

OWN_TYPES: Final = (DATABASE_MIGRATION, RETENTION_POLICY, ALERT_POLICY)


def part(parent: Object, key: str) -> Object:
    """What `parent` has under `key`, if that is an object; else an empty one."""
    found: Any = parent.get(key)
    return found if isinstance(found, dict) else {}


def number(parent: Object, key: str, default: int) -> int:
    """The whole number that `parent` has under `key`; `default` when it has none."""
    found = parent.get(key)
    return default if found is None else int(found)


def slim(item: Object) -> Object:
    """The object without what nobody here reads, which is half of it: who owns which of its fields."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}
