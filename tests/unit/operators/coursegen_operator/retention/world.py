"""A RetentionPolicy on an API server that is played: what a plan wants is there at the next look."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from operators.coursegen_operator.child import adopt
from operators.coursegen_operator.conditions import Condition, find, merged, timestamp
from operators.coursegen_operator.planning import Notice, Observed, Plan
from operators.coursegen_operator.resources import Object
from operators.coursegen_operator.retention.planner import RetentionKind

START = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
UID = "0b52f3a1-8f0e-4a52-9a4b-3f1f6b1f5c11"


def new_resource(**spec: Any) -> Object:
    """A RetentionPolicy as the API server has just stored it."""
    rules = [{"name": "expired", "target": "IdempotencyKeys", "keep": "7d"}]
    return {
        "apiVersion": "ops.coursegen.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "keys", "namespace": "shop", "uid": UID, "generation": 1, "annotations": {}},
        "spec": {
            "schedule": "0 3 * * *",
            "databaseSecretRef": {"name": "db"},
            "image": "shop/migrate:1",
            "rules": rules,
            **spec,
        },
        "status": {"observedGeneration": -1},
    }


def report(outcome: str = "succeeded", **fields: Any) -> str:
    """A termination message."""
    rules = [{"name": "expired", "outcome": outcome, "rowsDeleted": 3, "rowsMatched": 3, "rowsRemaining": 9}]
    found = {
        "task": "retention",
        "outcome": outcome,
        "dryRun": False,
        "rowsDeleted": 3,
        "rowsMatched": 3,
        "rules": rules,
    }
    return json.dumps({**found, **fields})


def mirror(cron_job: Object) -> None:
    """A webhook that has every image pulled from the registry's mirror."""
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    container["image"] = f"mirror.example/{container['image']}"


def maintenance(cron_job: Object) -> None:
    """A webhook that has nothing run by itself for a while."""
    cron_job["spec"]["suspend"] = True


@dataclass
class World:
    """The policy, what it owns, and what was told."""

    resource: Object = field(default_factory=new_resource)
    now: datetime = START
    cron_job: Object | None = None
    jobs: dict[str, Object] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    writes: int = 0
    webhook: Callable[[Object], object] | None = None
    """Changes every CronJob that is written."""

    def look(self) -> Plan:
        """One look, as the reconciler makes it."""
        children = [self.cron_job] if self.cron_job is not None else []
        around = {"jobs": list(self.jobs.values()), "pods": self.pods}
        plan = RetentionKind().plan(self.resource, Observed(self.now, [*children, *self.jobs.values()], around))
        for child in plan.children:
            made = adopt(child, self.resource)
            if child.type.kind == "CronJob":
                if self.webhook is not None:
                    self.webhook(made)
                self.cron_job = {**made, "status": (self.cron_job or {}).get("status", {})}
            elif child.name not in self.jobs:
                made["metadata"] |= {"uid": f"uid-{child.name}", "creationTimestamp": timestamp(self.now)}
                self.jobs[child.name] = made
                self.pod_of(child.name, running={})
        self._write(plan)
        return plan

    def settle(self, limit: int = 4) -> Plan:
        """Look until nothing changes any more."""
        for _ in range(limit):
            before = self.writes, len(self.jobs)
            plan = self.look()
            if (self.writes, len(self.jobs)) == before:
                return plan
        raise AssertionError(f"not settled after {limit} looks: {self.resource['status']}")

    def _write(self, plan: Plan) -> None:
        before = self.resource["status"]
        conditions = [Condition.of(each) for each in plan.status["conditions"]]
        generation = self.resource["metadata"]["generation"]
        new = {**plan.status, "conditions": merged(before.get("conditions") or [], conditions, generation, self.now)}
        if new != before:
            self.resource["status"] = new
            self.writes += 1
            self.told += plan.notices

    def edit(self, **spec: Any) -> None:
        """Somebody changes the spec."""
        self.resource["spec"] |= spec
        self.resource["metadata"]["generation"] += 1

    def start_job(self, name: str, *, by_hand: bool = False) -> Object:
        """The CronJob controller, or `kubectl create job --from`, makes a Job from the template."""
        assert self.cron_job is not None
        template = self.cron_job["spec"]["jobTemplate"]
        owner: Object = {"kind": "CronJob", "name": self.cron_job["metadata"]["name"], "uid": "cron"}
        if not by_hand:
            owner["controller"] = True
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "uid": f"uid-{name}",
                "creationTimestamp": timestamp(self.now),
                "labels": dict(template["metadata"]["labels"]),
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
            "status": {"startTime": timestamp(self.now), "active": 1},
        }
        if not by_hand:
            self.cron_job["status"] = {"lastScheduleTime": timestamp(self.now)}
        self.jobs[name] = job
        self.pod_of(name, running={})
        return job

    def pod_of(self, name: str, *conditions: Object, **state: Any) -> None:
        """The state of the Job's container, and the conditions of its pod."""
        owner = {"kind": "Job", "name": name, "uid": f"uid-{name}"}
        self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != f"{name}-x"]
        status = {"containerStatuses": [{"name": "coursegen", "state": state}], "conditions": list(conditions)}
        created = self.jobs[name]["metadata"]["creationTimestamp"]
        metadata = {"name": f"{name}-x", "creationTimestamp": created, "ownerReferences": [owner]}
        self.pods.append({"kind": "Pod", "metadata": metadata, "status": status})

    def end_job(self, name: str, message: str | None = None, *, failed: bool = False, reason: str = "") -> None:
        """The Job ends; without a message its pod is gone."""
        self.now += timedelta(seconds=5)
        if message is None:
            self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != f"{name}-x"]
        else:
            self.pod_of(name, terminated={"exitCode": int(failed), "reason": "Error", "message": message})
        ended = {
            "type": "Failed" if failed else "Complete",
            "status": "True",
            "lastTransitionTime": timestamp(self.now),
        }
        said = {"reason": reason, "message": f"Job has {reason}"} if reason else {}
        status = {"conditions": [{**ended, **said}]} | ({} if failed else {"completionTime": timestamp(self.now)})
        self.jobs[name].setdefault("status", {}).update(status)

    def run(self, name: str, message: str | None = None, *, failed: bool = False) -> None:
        """A whole run, and the look at its end."""
        self.start_job(name)
        self.settle()
        self.end_job(name, report() if message is None else message, failed=failed)
        self.settle()

    @property
    def status(self) -> Object:
        """What the policy says."""
        found: Object = self.resource["status"]
        return found

    def condition(self, condition_type: str) -> Object:
        """One of its conditions."""
        found = find(self.status["conditions"], condition_type)
        assert found is not None
        return found

    def standing(self) -> tuple[str, str, str, str]:
        """Ready, Reconciling, Stalled, and the reason."""
        three = [self.condition(each)["status"] for each in ("Ready", "Reconciling", "Stalled")]
        return three[0], three[1], three[2], self.condition("Ready")["reason"]

    def reasons(self) -> list[str]:
        """The reasons of the Events told so far."""
        return [notice.reason for notice in self.told]
