"""What `helm install --wait` has brought about, as kubectl shows it (kubernetes.md, Operations through kubectl)."""

from __future__ import annotations

import shlex

import pytest

from tests.e2e.operator.conftest import FirstLook
from tests.support.kube.commands import kubectl, run
from tests.support.kube.installation import Installation, is_available
from tests.support.kube.operator import OperatorRelease, await_condition, condition, reads, table
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

POLICIES = {"outbox": "0 2 * * *", "idempotency": "0 3 * * *", "fsm-events": "0 4 * * 0"}


def test_all_three_kinds_are_ready_when_helm_returns(first_look: FirstLook) -> None:
    """The schema is there, three policies have their schedules, and without a Prometheus alerts hold nothing up."""
    shown = first_look.resources

    assert [each["metadata"]["name"] for each in shown if condition(each, "Ready").get("status") != "True"] == []
    assert {(each["kind"], each["metadata"]["name"]) for each in shown} == {
        ("DatabaseMigration", "main"),
        *(("RetentionPolicy", each) for each in POLICIES),
        ("AlertPolicy", "platform"),
    }
    assert [each["metadata"]["name"] for each in first_look.deployments if not is_available(each)] == []
    assert first_look.restarts == {}
    assert first_look.installation.sql("SELECT to_regclass('public.courses') IS NOT NULL") == "t"


def test_the_tables_read_as_documented(operated: Installation) -> None:
    """Columns, and what stands in them; the whole category at once."""
    namespace = operated.namespace
    revision = reads(namespace, "dbm", "main")["status"]["currentRevision"]

    eventually_sync(lambda: "InSync" in kubectl("-n", namespace, "get", "dbm"), within=60, every=1)
    header, row = table("-n", namespace, "dbm")
    assert [each.strip() for each in header] == [
        "NAME",
        "READY",
        "STATE",
        "CURRENT",
        "TARGET",
        "PENDING",
        "DRIFT",
        "AGE",
    ]
    assert row[1].strip() == "True"
    assert row[2].strip() == "Applied"
    assert {row[3].strip(), row[4].strip()} == {revision}
    assert (row[5].strip(), row[6].strip()) == ("0", "InSync")
    _, *rows = table("-n", namespace, "rtp")
    assert {row[0].strip(): row[2].strip() for row in rows} == POLICIES
    assert {row[3].strip() for row in rows} == {"false"}


@pytest.mark.parametrize(
    ("kind", "columns", "wide"),
    [
        ("dbm", "READY STATE CURRENT TARGET PENDING DRIFT AGE", "LAST-APPLIED MESSAGE IMAGE JOB"),
        ("rtp", "READY SCHEDULE SUSPEND LAST-OK NEXT DELETED AGE", "OUTCOME MESSAGE CRONJOB"),
        ("alp", "READY STATE ALERTS SELECTED ACCEPTED AGE", "RULE MESSAGE"),
    ],
)
def test_the_columns_are_those_that_are_documented(operated: Installation, kind: str, columns: str, wide: str) -> None:
    """All of them, in their order, and what `-o wide` adds."""
    shown, widened = (operated.kubectl("get", kind, *more).splitlines()[0].split() for more in ((), ("-o", "wide")))

    assert shown == ["NAME", *columns.split()]
    assert widened == [*shown, *wide.split()]


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "coursegen"),
        ("get", "coursegen", "-A"),
        *(("get", each) for each in ("dbm", "rtp", "alp")),
        *(("describe", each) for each in ("dbm/main", "rtp/outbox", "alp/platform")),
        ("wait", "dbm/main", "--for=condition=Ready", "--timeout=10s"),
        ("get", "dbm", "-A", "--field-selector", "spec.suspend=false"),
        ("get", "dbm", "-A", "--field-selector", "spec.approval=Auto"),
        ("events", "--for", "dbm/main"),
        ("explain", "dbm.spec.contract"),
        ("explain", "rtp.spec.rules"),
        ("explain", "alp.spec.presets"),
        ("get", "dbm", "main", "-o", "wide"),
    ],
    ids=" ".join,
)
def test_the_documented_commands_answer(operated: Installation, arguments: tuple[str, ...]) -> None:
    """With something to read, and no field without a description."""
    scope = () if {"-A", "explain"} & set(arguments) else ("-n", operated.namespace)
    said = kubectl(*arguments, *scope)

    assert said.strip()
    assert "<no description>" not in said


def test_a_revision_and_a_generation_can_be_waited_for(operated: Installation) -> None:
    """`kubectl wait` by what the status says; of what is not so yet it says that it took too long."""
    found = reads(operated.namespace, "dbm", "main")
    for field, value in (
        ("currentRevision", found["status"]["currentRevision"]),
        ("observedGeneration", found["metadata"]["generation"]),
    ):
        said = operated.kubectl("wait", "dbm/main", f"--for=jsonpath={{.status.{field}}}={value}", "--timeout=10s")
        assert "condition met" in said
        late = ["wait", "dbm/main", f"--for=jsonpath={{.status.{field}}}=2{value}", "--timeout=1s"]
        assert "timed out" in run(["kubectl", "-n", operated.namespace, *late], check=False).stderr


def test_a_suspended_migration_is_found_by_its_field(operated: Installation) -> None:
    """Suspended by a patch, found with -A, resumed by the command that its message names."""
    ours = [operated.namespace, "main"]

    def chosen(is_suspended: str) -> bool:
        found = kubectl("get", "dbm", "-A", "--field-selector", f"spec.suspend={is_suspended}", "--no-headers")
        return ours in [line.split()[:2] for line in found.splitlines()]

    assert (chosen("true"), chosen("false")) == (False, True)
    operated.kubectl("patch", "dbm/main", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    try:
        found = await_condition(operated.namespace, "dbm", "main", "Ready", reason="Suspended", within=60)
        assert (chosen("true"), chosen("false")) == (True, False)
        command = condition(found, "Ready")["message"].rpartition("; resume: ")[2]
        run(shlex.split(command))
        resumed = await_condition(operated.namespace, "dbm", "main", "Ready", within=60)
        assert condition(resumed, "Ready")["reason"] == "Applied"
    finally:
        operated.kubectl("patch", "dbm/main", "--type=merge", "-p", '{"spec":{"suspend":false}}')


def test_a_rollout_is_restarted_and_undone(operated: Installation) -> None:
    """Plain Deployments: the schema is that of both, and the api is Available at the end of each."""
    name = f"{operated.fullname}-api"
    before = operated.get("deployment", name)["spec"]["template"]
    operated.kubectl("rollout", "restart", f"deployment/{name}")
    operated.rolled_out("api")
    assert operated.get("deployment", name)["spec"]["template"] != before
    operated.kubectl("rollout", "undo", f"deployment/{name}")
    operated.rolled_out("api")

    after = operated.get("deployment", name)
    assert after["spec"]["template"] == before
    assert is_available(after)
    assert condition(reads(operated.namespace, "dbm", "main"), "Ready")["status"] == "True"


def test_the_relays_lease_names_the_pod_that_polls(operated: Installation) -> None:
    """`kubectl get lease` says who it is."""
    (pod,) = operated.pod_names("outbox-relay")
    header, row = (
        line.split() for line in operated.kubectl("get", "lease", f"{operated.fullname}-outbox-relay").splitlines()
    )

    assert header[:2] == ["NAME", "HOLDER"]
    assert row[1].startswith(pod)


def test_describe_tells_the_story(operated: Installation) -> None:
    """What happened, in Events, and where it stands."""
    said = operated.kubectl("describe", "dbm", "main")

    for word in ("PlanComputed", "MigrationStarted", "MigrationSucceeded", "Ready", "Current Revision"):
        assert word in said, said
    assert "postgresql://" not in said


def test_one_leads_and_both_are_ready(operator: OperatorRelease, operated: Installation) -> None:
    """The Lease names a pod; the pods may not read a Secret, anywhere."""
    assert operated.namespace
    pods = {each["metadata"]["name"] for each in operator.pods()}
    account = f"system:serviceaccount:{operator.namespace}:coursegen-operator"
    may = run(["kubectl", "auth", "can-i", "get", "secrets", "-A", "--as", account], check=False).stdout.strip()

    assert len(pods) == 2
    assert operator.leader() in pods
    assert may == "no"


@pytest.mark.parametrize(
    ("kind", "patch", "said"),
    [
        ("dbm/main", '{"spec":{"image":"no-tag-or-digest"}}', "image"),
        ("dbm/main", '{"spec":{"approval":"Perhaps"}}', 'supported values: "Auto", "Manual"'),
        ("dbm/main", '{"spec":{"job":{"tolerations":[{"key":"x","effect":"Never"}]}}}', '"NoExecute"'),
        ("dbm/main", '{"spec":{"job":{"tolerations":[{"effect":"NoExecute"}]}}}', "operator must be Exists"),
        ("rtp/outbox", '{"spec":{"rules":[{"name":"x","target":"Custom","keep":"7d"}]}}', "table"),
        ("rtp/outbox", '{"spec":{"rules":[{"name":"x","target":"OutboxPublished","keep":"a week"}]}}', "keep"),
        ("alp/platform", '{"spec":{"presets":{"outbox":{"lagSeconds":"soon"}}}}', "lagSeconds"),
    ],
)
def test_what_cannot_work_is_refused_by_the_api_server(
    operated: Installation, kind: str, patch: str, said: str
) -> None:
    """With a message that says what is allowed; nothing has changed."""
    before = reads(operated.namespace, *kind.split("/"))["metadata"]["generation"]
    done = run(["kubectl", "-n", operated.namespace, "patch", kind, "--type=merge", "-p", patch], check=False)

    assert done.returncode != 0
    assert said in done.stderr, done.stderr
    assert reads(operated.namespace, *kind.split("/"))["metadata"]["generation"] == before


def test_an_idle_resource_is_left_alone(operated: Installation) -> None:
    """Its version stays as it is: nothing is written when nothing happened."""
    ready = await_condition(operated.namespace, "rtp", "outbox", "Ready")
    kubectl(
        "-n",
        operated.namespace,
        "annotate",
        "rtp/idempotency",
        f"ops.coursegen.dev/reconcile-at={ready['metadata']['uid']}",
        "--overwrite",
    )
    await_condition(operated.namespace, "rtp", "idempotency", "Ready")

    assert (
        reads(operated.namespace, "rtp", "outbox")["metadata"]["resourceVersion"]
        == ready["metadata"]["resourceVersion"]
    )
