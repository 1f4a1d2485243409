"""A kind of resource for the operator's frame: one CronJob by its schedule, one Job for each of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from operators.coursegen_operator.child import child_name, common_labels
from operators.coursegen_operator.conditions import Condition, done, stuck, working
from operators.coursegen_operator.planning import Child, Notice, Observed, Plan, Reader
from operators.coursegen_operator.resources import CRON_JOB, JOB, RETENTION_POLICY, Object, ResourceType

IMAGE = "registry.example/sample:1"


def sample(name: str = "sample", namespace: str = "default", **spec: object) -> Object:
    """A resource of that kind, as a person writes it."""
    return {
        "apiVersion": RETENTION_POLICY.api_version,
        "kind": RETENTION_POLICY.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedule": "0 2 * * *", "runs": 0, **spec},
    }


class PretendedKind:
    """Wants what its spec says; counts its Jobs."""

    type: ResourceType = RETENTION_POLICY
    child_types: tuple[ResourceType, ...] = (CRON_JOB, JOB)

    def __init__(self) -> None:
        self.defect: Exception | None = None

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, Sequence[Object]]:
        """Nothing beside the children."""
        del cluster, resource
        return {}

    def plan(self, resource: Object, observed: Observed) -> Plan:
        """What the spec says."""
        if self.defect is not None:
            raise self.defect
        spec, name = resource["spec"], resource["metadata"]["name"]
        jobs = [each for each in observed.children if each["kind"] == JOB.kind]
        runs = [child_name(name, "run", str(number)) for number in range(spec["runs"])]
        obsolete = tuple(each for each in jobs if each["metadata"]["name"] not in runs)
        there = {each["metadata"]["name"] for each in jobs} & set(runs)
        conditions = _standing(spec, len(there), len(runs))
        return Plan(
            {
                "conditions": [each.as_object() for each in conditions],
                "cronJobName": name if any(each["kind"] == CRON_JOB.kind for each in observed.children) else None,
                "jobs": len(there),
            },
            (Child(CRON_JOB, _cron_job(resource)), *(Child(JOB, _job(resource, run), once=True) for run in runs)),
            obsolete,
            (Notice("Counted", f"{len(there)} jobs"),),
            spec.get("lookAgain"),
        )


def _standing(spec: Object, there: int, wanted: int) -> tuple[Condition, ...]:
    if spec.get("broken"):
        return stuck("Broken", "`kubectl edit` it")
    return done("Counted", f"{there} jobs") if there == wanted else working("Counting", f"{there} of {wanted} jobs")


def _cron_job(resource: Object) -> Object:
    spec: Object = {"schedule": resource["spec"]["schedule"], "jobTemplate": {"spec": _template(resource)}}
    if resource["spec"].get("suspend"):
        spec["suspend"] = True
    return {"metadata": {"name": resource["metadata"]["name"]}, "spec": spec}


def _job(resource: Object, name: str) -> Object:
    return {"metadata": {"name": name, "labels": {"sample": "yes"}}, "spec": {**_template(resource), "suspend": True}}


def _template(resource: Object) -> Object:
    env = [{"name": "A", "value": str(resource["spec"].get("value", "1"))}]
    pod = {"restartPolicy": "Never", "containers": [{"name": "coursegen", "image": IMAGE, "env": env}]}
    return {"backoffLimit": 0, "template": {"metadata": {"labels": common_labels(resource)}, "spec": pod}}
