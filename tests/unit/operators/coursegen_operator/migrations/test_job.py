"""The Job: its name follows from what it is for, and its pod may do little."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from operators.coursegen_operator.child import adopt
from operators.coursegen_operator.migrations.job import arguments, job_of, name_of
from operators.coursegen_operator.migrations.spec import MigrationSpec
from operators.coursegen_operator.migrations.status import Memory, Task
from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.migrations.world import new_resource

_MEMORY = Memory(round="1-abc", attempt=1, plan_hash="p" * 16, contract_hash="c" * 16)


def _job(task: Task = "plan", memory: Memory = _MEMORY, **spec: Any) -> Object:
    resource = new_resource(**spec)
    return adopt(job_of(resource, MigrationSpec.of(resource), memory, task, ""), resource)


def _pod(**spec: Any) -> Object:
    return dict(_job(**spec)["spec"]["template"]["spec"])


def test_kubernetes_admits_it() -> None:
    """With every field that a spec may set."""
    settings = {
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
        "serviceAccountName": "migrate",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "podLabels": {"team": "courses"},
        "activeDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 120,
    }
    spec = {"imagePullSecrets": [{"name": "registry"}], "imagePullPolicy": "Always", "command": ["migrate"]}
    for task in ("plan", "apply", "contract", "drift"):
        kubernetes_validate.validate(_job(task, job=settings, **spec), "1.31", strict=True)
    job = _job(job=settings, **spec)

    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert job["spec"]["ttlSecondsAfterFinished"] == 120
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "migrate"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["migrate"]


def test_its_pod_is_restricted() -> None:
    """No token, no root, nothing to write to but /tmp."""
    pod = _pod()
    container = pod["containers"][0]

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["restartPolicy"] == "Never"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert container["command"] == ["python", "-m", "services.migrate"]


def test_the_address_of_the_database_comes_from_the_secret_alone() -> None:
    """The operator never has it."""
    variables = {
        each["name"]: each for each in _pod(databaseSecretRef={"name": "db", "key": "url"})["containers"][0]["env"]
    }

    assert variables["DATABASE_URL"]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "url"}}
    assert variables["REPORT_FILE"]["value"] == "/dev/termination-log"


def test_job_and_pod_say_whose_they_are_whatever_labels_are_wanted() -> None:
    """By these labels they are found."""
    job = _job("drift", job={"podLabels": {"ops.coursegen.dev/task": "mine", "team": "courses"}})

    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels["ops.coursegen.dev/task"] == "drift"
        assert labels["ops.coursegen.dev/owner-uid"] == job["metadata"]["ownerReferences"][0]["uid"]
        assert labels["team"] == "courses"


def test_a_lock_is_waited_for_as_long_as_the_process_waits_by_itself() -> None:
    """No longer: everybody who comes later waits behind it."""
    from services.migrate.settings import MigrateSettings

    variables = {each["name"]: each.get("value") for each in _pod()["containers"][0]["env"]}
    own = MigrateSettings.from_environ({"DATABASE_URL": "postgresql://owner@db/shop"}).lock_seconds

    assert float(variables["MIGRATE_LOCK_SECONDS"]) == own == 4


@pytest.mark.parametrize(
    "change",
    [{"attempt": 2}, {"round": "2-abc"}, {"plan_hash": "q" * 16}],
)
def test_another_attempt_is_another_job(change: dict[str, Any]) -> None:
    """And the same one has the same name, in every process."""
    resource = new_resource()
    spec = MigrationSpec.of(resource)

    assert name_of(resource, spec, _MEMORY, "apply") == name_of(resource, spec, replace(_MEMORY), "apply")
    assert name_of(resource, spec, replace(_MEMORY, **change), "apply") != name_of(resource, spec, _MEMORY, "apply")


def test_a_long_name_is_cut_and_stays_one_of_its_own() -> None:
    """A Job's name becomes a label of its pods: 63 characters."""
    names = set()
    for last in "ab":
        resource = new_resource()
        resource["metadata"]["name"] = "m" * 200 + last
        names.add(name_of(resource, MigrationSpec.of(resource), _MEMORY, "contract"))

    assert len(names) == 2
    assert all(len(name) <= 63 for name in names)


def test_what_the_process_is_asked() -> None:
    """Permissions only where the plan needs them; a value that looks like an option stays a value."""
    spec = MigrationSpec.of(new_resource(baseline="20260101000000", drift={"ignore": ["tmp.*"]}))
    lossy = replace(_MEMORY, destructive=(("1", "DROP TABLE x"),))

    assert arguments(spec, _MEMORY, "plan", "b") == ["--task", "plan", "--target=head", "--baseline=20260101000000"]
    assert "--allow-destructive" not in arguments(spec, _MEMORY, "apply", "b")
    assert "--allow-destructive" in arguments(spec, lossy, "apply", "b")
    assert arguments(spec, _MEMORY, "contract", "--x") == [
        "--task",
        "contract",
        "--target=head",
        f"--expect-plan={'c' * 16}",
        "--allow-destructive",
        "--backup=--x",
    ]
    assert arguments(spec, _MEMORY, "drift", "b") == [
        "--task",
        "drift",
        "--target=head",
        "--baseline=20260101000000",
        "--ignore=tmp.*",
    ]


def test_the_process_reads_every_argument() -> None:
    """What the operator writes, the migration process understands."""
    from services.migrate.arguments import parser

    spec = MigrationSpec.of(new_resource(baseline="20260101000000", drift={"ignore": ["tmp.*", "-x"]}))
    tasks: tuple[Task, ...] = ("plan", "apply", "contract", "drift")
    for task in tasks:
        options = parser().parse_args(arguments(spec, replace(_MEMORY, destructive=(("1", "DROP"),)), task, "--dump"))
        assert options.task == task
    assert options.ignore == ["tmp.*", "-x"]
