"""The Job that plans, migrates or checks: its name, and what runs in its pod.

A Job's name follows from what it is for. Whoever makes it a second time, after a crash or a status that was lost, finds that
it is there already.
"""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.child import child_name, common_labels, hash8, uid_of
from operators.coursegen_operator.jobs.pod import TERMINATION_LOG, labelled, pod_of, settings_of
from operators.coursegen_operator.migrations.spec import (
    DEADLINE_SECONDS,
    TTL_SECONDS,
    MigrationSpec,
)
from operators.coursegen_operator.migrations.status import AGAIN, Memory, Task
from operators.coursegen_operator.planning import Child
from operators.coursegen_operator.resources import JOB, Object

COMMAND: Final = ("python", "-m", "services.migrate")
BACKUP_LENGTH: Final = 253
_BACKUP: Final = "--backup="

DRIFT_TTL_SECONDS: Final = 600
"""How long a finished check for drift is kept at most: there is one after the other, for ever."""

_DRAINED: Final = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
"""A pod that had to leave its node is made anew, and is no failure."""


def plan_hash_of(memory: Memory, task: Task) -> str:
    """The plan that a Job of `task` carries out."""
    return memory.contract_hash if task == "contract" else memory.plan_hash if task == "apply" else ""


def name_of(resource: Object, spec: MigrationSpec, memory: Memory, task: Task) -> str:
    """What the Job of this attempt is called, now and whenever it is asked again."""
    plan = plan_hash_of(memory, task)
    parts = (uid_of(resource), spec.image, spec.target, task, memory.attempt, plan, memory.round)
    return child_name(resource["metadata"]["name"], task, hash8(*parts))


def job_of(resource: Object, spec: MigrationSpec, memory: Memory, task: Task, backup: str) -> Child:
    """The Job of this attempt."""
    name = name_of(resource, spec, memory, task)
    labels = labelled(spec.pod, common_labels(resource, task))
    settings = settings_of(spec.pod)
    ttl = int(settings.get("ttlSecondsAfterFinished", TTL_SECONDS))
    manifest = {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": int(settings.get("backoffLimit", 0)),
            "activeDeadlineSeconds": int(settings.get("activeDeadlineSeconds", DEADLINE_SECONDS)),
            "ttlSecondsAfterFinished": min(ttl, DRIFT_TTL_SECONDS) if task == "drift" else ttl,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [_DRAINED]},
            "template": {
                "metadata": {"labels": labels},
                "spec": pod_of(
                    spec.pod,
                    image=spec.image,
                    command=COMMAND,
                    secret=(spec.secret_name, spec.secret_key),
                    environment=_environment(spec),
                    args=arguments(spec, memory, task, backup),
                ),
            },
        },
    }
    return Child(JOB, manifest, once=True)


def arguments(spec: MigrationSpec, memory: Memory, task: Task, backup: str) -> list[str]:
    """What the process is asked to do. Values are joined to their option: none can be taken for another option."""
    found = ["--task", task, f"--target={spec.target}"]
    if spec.baseline and task in {"plan", "apply", "drift"}:
        found.append(f"--baseline={spec.baseline}")
    if task in {"apply", "contract"}:
        found.append(f"--expect-plan={plan_hash_of(memory, task).partition(AGAIN)[0]}")
        if task == "contract" or memory.destructive:
            found.append("--allow-destructive")
        if backup:
            found.append(f"{_BACKUP}{backup}")
    if task == "drift":
        found += [f"--ignore={pattern}" for pattern in spec.drift.ignore]
    return found


def backup_in(job: Object) -> str:
    """The backup that a Job was given, whatever the resource says by now; empty when none."""
    containers = (((job.get("spec") or {}).get("template") or {}).get("spec") or {}).get("containers") or [{}]
    given = [
        str(each).removeprefix(_BACKUP) for each in containers[0].get("args") or () if str(each).startswith(_BACKUP)
    ]
    return given[0] if given else ""


def _environment(spec: MigrationSpec) -> dict[str, str]:
    return {
        "REPORT_FILE": TERMINATION_LOG,
        "MIGRATE_LOCK_SECONDS": str(spec.policy.lock_seconds),
        "MIGRATE_STATEMENT_SECONDS": str(spec.policy.statement_seconds),
    }
