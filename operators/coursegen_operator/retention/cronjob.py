"""The CronJob of a policy, and the Job that runs it at once.

The template's labels are how a run is known: those of the CronJob, those by annotation, and those that somebody makes with
`kubectl create job --from=cronjob/…` all have them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from itertools import islice
from typing import Final, Literal

from operators.coursegen_operator.child import child_name, common_labels, hash8, uid_of
from operators.coursegen_operator.comparison import differences, differs
from operators.coursegen_operator.jobs.pod import TERMINATION_LOG, labelled, pod_of
from operators.coursegen_operator.planning import Child
from operators.coursegen_operator.resources import CRON_JOB, GROUP, JOB, Object
from operators.coursegen_operator.retention.spec import RetentionSpec
from services.kernel.texts import shortened

TASK: Final = "retention"
COMMAND: Final = ("python", "-m", "services.retention")

ANNOTATION_SPEC_HASH: Final = f"{GROUP}/spec-hash"
"""On the CronJob: what it was written for, so that one that is not yet up to date is not taken for one that was edited."""
NAME_LENGTH: Final = 52
"""Longest name of a CronJob: its Jobs add eleven characters."""
MOST_FIELDS: Final = 16
FIELD_LENGTH: Final = 253
"""Of the changes that a status names."""
DEADLINE_MARGIN_SECONDS: Final = 180
"""A run ends by itself when maxRunSeconds are over; so long it may take to count once more and to report."""
GRACE_SECONDS: Final = 60
"""For the batch at hand, when a pod is told to stop."""
BY_HAND_TTL_SECONDS: Final = 604_800
"""How long a Job that ran by annotation is kept: no CronJob tidies it away."""


def cron_job_name(resource: Object) -> str:
    """What the CronJob of `resource` is called."""
    name = str(resource["metadata"]["name"])
    if len(name) + len(TASK) + 1 <= NAME_LENGTH:
        return f"{name}-{TASK}"
    return f"{name[: NAME_LENGTH - len(TASK) - 10].rstrip('-.')}-{hash8(name)}-{TASK}"


def cron_job_of(resource: Object, spec: RetentionSpec) -> Child:
    """The CronJob that `resource` asks for."""
    content = {
        "schedule": spec.schedule,
        "timeZone": spec.time_zone,
        "suspend": spec.suspend,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": spec.starting_deadline_seconds,
        "successfulJobsHistoryLimit": spec.successful_history,
        "failedJobsHistoryLimit": spec.failed_history,
        "jobTemplate": {"metadata": {"labels": common_labels(resource, TASK)}, "spec": _job(resource, spec)},
    }
    metadata = {
        "name": cron_job_name(resource),
        "labels": common_labels(resource, TASK),
        "annotations": {ANNOTATION_SPEC_HASH: hash8(content)},
    }
    return Child(CRON_JOB, {"metadata": metadata, "spec": content})


def job_by_annotation_name(resource: Object, value: str) -> str:
    """What the Job of this value of the annotation is called, now and whenever it is asked again."""
    return child_name(resource["metadata"]["name"], TASK, hash8(uid_of(resource), value))


def job_by_annotation(resource: Object, spec: RetentionSpec, value: str) -> Child:
    """The Job that runs `resource` at once."""
    manifest = {
        "metadata": {"name": job_by_annotation_name(resource, value), "labels": common_labels(resource, TASK)},
        "spec": {**_job(resource, spec), "ttlSecondsAfterFinished": BY_HAND_TTL_SECONDS},
    }
    return Child(JOB, manifest, once=True)


State = Literal["right", "absent", "outdated", "edited", "overridden"]
"""How the CronJob that was found compares with the one that should be there.

`outdated`: it was written for another spec, and is about to be written anew; `edited`: somebody else has changed it;
`overridden`: it was written anew since, and still has the same changes, as where a webhook of the cluster makes them.
"""


def state_of(found: Object | None, wanted: Object, known: Collection[str] = ()) -> tuple[State, tuple[str, ...]]:
    """How the CronJob that was found compares with `wanted`, and which of its fields are changed.

    Fields of which `wanted` says nothing do not count: the API server adds its defaults. Nor do amounts of resources, which it
    writes in another form than they were given. `known` are the changes that the last look has found, and written over.
    """
    if found is None:
        return "absent", ()
    metadata = found.get("metadata") or {}
    if (metadata.get("annotations") or {}).get(ANNOTATION_SPEC_HASH) != wanted["metadata"]["annotations"][
        ANNOTATION_SPEC_HASH
    ]:
        return "outdated", ()
    comparable = _without_amounts(wanted)
    if not differs(comparable, found):
        return "right", ()
    changed = tuple(shortened(each, FIELD_LENGTH) for each in islice(differences(comparable, found), MOST_FIELDS))
    return ("overridden" if set(changed) <= set(known) else "edited"), changed


def _without_amounts(wanted: Object) -> Object:
    """Of the pod's containers."""
    comparable = copy.deepcopy(wanted)
    for container in comparable["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]:
        container.pop("resources", None)
    return comparable


def _job(resource: Object, spec: RetentionSpec) -> Object:
    pod = pod_of(
        spec.pod,
        image=spec.image,
        command=COMMAND,
        secret=(spec.secret_name, spec.secret_key),
        environment=_environment(spec),
        grace_seconds=GRACE_SECONDS,
    )
    return {
        "backoffLimit": 0,
        "activeDeadlineSeconds": spec.max_run_seconds + DEADLINE_MARGIN_SECONDS,
        "template": {"metadata": {"labels": labelled(spec.pod, common_labels(resource, TASK))}, "spec": pod},
    }


def _environment(spec: RetentionSpec) -> dict[str, str]:
    return {
        "RETENTION_RULES": json.dumps(spec.rules, separators=(",", ":"), ensure_ascii=False),
        "RETENTION_DRY_RUN": "true" if spec.dry_run else "false",
        "RETENTION_MAX_DELETE_FRACTION": spec.max_delete_fraction,
        "RETENTION_FREE_ROWS": str(spec.free_rows),
        "RETENTION_MIN_KEEP_ROWS": str(spec.min_keep_rows),
        "RETENTION_MAX_RUN_SECONDS": str(spec.max_run_seconds),
        "REPORT_FILE": TERMINATION_LOG,
        "LOG_FORMAT": "json",
    }
