"""What a plan goes by: the resource and what is around it, at one moment, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from operators.coursegen_operator.child import hash8, uid_of
from operators.coursegen_operator.jobs.ending import is_finished, owners_of
from operators.coursegen_operator.migrations.job import BACKUP_LENGTH
from operators.coursegen_operator.migrations.rollout import Rollout, rollout_of
from operators.coursegen_operator.migrations.spec import MigrationSpec
from operators.coursegen_operator.migrations.words import Commands
from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.resources import (
    ANNOTATION_APPROVE,
    ANNOTATION_BACKUP,
    ANNOTATION_RECONCILE_AT,
    JOB,
    Object,
)

PODS = "pods"
DEPLOYMENTS = "deployments"
DEPLOYMENTS_REFUSED = "deployments-refused"


@dataclass(frozen=True, slots=True)
class Facts:
    """One look."""

    resource: Object
    spec: MigrationSpec
    now: datetime
    jobs: Mapping[str, Object]
    """The Jobs of the resource, by name."""
    pods: Sequence[Object]
    deployments: Sequence[Object] | None
    """None: not looked at."""
    refusal: str
    """Why the Deployments may not be looked at, and the command that shows it; empty when they may."""
    approve: str
    backup: str
    """The id of a backup; empty when none is named, or none that can be."""
    reconcile_at: str

    @classmethod
    def of(cls, resource: Object, observed: Observed) -> Facts:
        """What is known about `resource`."""
        annotations = resource["metadata"].get("annotations") or {}
        backup = str(annotations.get(ANNOTATION_BACKUP) or "").strip()
        jobs = [each for each in observed.children if each.get("kind", JOB.kind) == JOB.kind]
        return cls(
            resource=resource,
            spec=MigrationSpec.of(resource),
            now=observed.now,
            jobs={each["metadata"]["name"]: each for each in jobs},
            pods=observed.around.get(PODS, ()),
            deployments=observed.around.get(DEPLOYMENTS),
            refusal="; ".join(str(each["message"]) for each in observed.around.get(DEPLOYMENTS_REFUSED, ())),
            approve=str(annotations.get(ANNOTATION_APPROVE) or "").strip(),
            backup=backup if backup.isprintable() and len(backup) <= BACKUP_LENGTH else "",
            reconcile_at=str(annotations.get(ANNOTATION_RECONCILE_AT) or ""),
        )

    @property
    def uid(self) -> str:
        """The resource's own."""
        return uid_of(self.resource)

    @property
    def generation(self) -> int:
        """The number of its spec."""
        return int(self.resource["metadata"].get("generation", 0))

    @property
    def commands(self) -> Commands:
        """What a person may type about it."""
        return Commands.about(self.resource)

    @property
    def round_key(self) -> str:
        """Stands for the work there is, the plan of it, and the manner: another one begins a round, or goes on with this one."""
        return f"{self.spec.work}-{hash8(self.spec.fingerprint, self.reconcile_at)}-{self.spec.manner}"

    def rollout(self) -> Rollout:
        """How far the Deployments are that the contract phase waits for."""
        if self.refusal:
            return Rollout(f"the operator may not see the Deployments: {self.refusal}")
        if self.deployments is None:
            return Rollout(f"the Deployments are looked at next; see: {self.commands.kubectl} get deployments")
        return rollout_of(self.resource, self.spec.contract.wait_for, self.deployments)

    def unfinished(self, other_than: str) -> list[Object]:
        """Jobs that run or may still start."""
        found = [job for name, job in self.jobs.items() if name != other_than and not is_finished(job)]
        return sorted(found, key=lambda job: str(job["metadata"]["name"]))

    def left_behind(self) -> list[Object]:
        """Pods whose Job is gone, and which have not ended yet."""
        uids = {job["metadata"].get("uid") for job in self.jobs.values()}
        return [
            pod
            for pod in self.pods
            if (pod.get("status") or {}).get("phase") in {"Pending", "Running"}
            and any(owner.get("kind") == JOB.kind and owner.get("uid") not in uids for owner in owners_of(pod))
        ]
