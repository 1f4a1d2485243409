"""What people meet: no image, no server, a schema changed by hand, runs that fail, and a plan that must be approved again.

All of it is made at once, and each test comes back to what time has brought about while the ones before it went on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.kube.commands import Object
from tests.support.kube.installation import Installation
from tests.support.kube.operator import await_condition, condition, reads, table
from tests.support.kube.own_migrations import asked, command_with, own_database, own_migration, own_secret
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

REVISIONS = sorted(each.name[:14] for each in (REPOSITORY / "migrations").glob("*.sql"))
NO_IMAGE, NO_SERVER, CHANGED, ADOPTED = "noimage", "noserver", "changed", "adopted"
NOBODY = "postgresql://nobody:nothing@127.0.0.1:1/nothing"
INTERVAL_SECONDS = 30
CHECKED_SECONDS = INTERVAL_SECONDS + 45.0
"""To the end of the next check for drift: its Job waits for a place on a busy node."""
STALLED_SECONDS = 120.0
AT_WORK_SECONDS = 180.0
"""To the end of a Job or two, on a busy node."""
MINUTELY_SECONDS = 150.0
"""To what a run by the minute leaves: it begins, fails when the server has not answered for half a minute, and is seen."""

MADE = {
    "20990101000000_make_first": "CREATE TABLE IF NOT EXISTS first (id integer);",
    "20990102000000_make_second": "CREATE TABLE IF NOT EXISTS second (id integer);",
}
MORE = {
    "20990103000000_make_third": "CREATE TABLE third (id integer);",
    "20990104000000_make_fourth": "CREATE TABLE fourth (id integer);",
    "20990105000000_make_fifth": "CREATE TABLE fifth (id integer);",
}
_TABLES = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relname IN {}"


def make(installation: Installation, *resources: Object) -> None:
    """Give resources to the API server."""
    for each in resources:
        installation.kubectl("apply", "-f", "-", stdin=json.dumps(each))


def minutely(installation: Installation, name: str, **spec: Any) -> Object:
    """A RetentionPolicy as the application's own that runs by the minute."""
    found = {**reads(installation.namespace, "rtp", "idempotency")["spec"], "schedule": "* * * * *", **spec}
    metadata = {"name": name, "namespace": installation.namespace}
    return {"apiVersion": "ops.coursegen.dev/v1alpha1", "kind": "RetentionPolicy", "metadata": metadata, "spec": found}


@pytest.fixture(scope="module")
def troubled(operated: Installation) -> Iterator[Installation]:
    """The application, and beside it what cannot go well."""
    image = str(reads(operated.namespace, "dbm", "main")["spec"]["image"]).rpartition(":")[0] + ":not-there"
    patient = {"backoffSeconds": 600, "maxBackoffSeconds": 600}
    with ExitStack() as stack:
        stack.enter_context(own_database(operated, CHANGED))
        stack.enter_context(own_secret(operated, NO_SERVER, NOBODY))
        stack.callback(operated.kubectl, "delete", f"rtp/{NO_SERVER}", f"dbm/{NO_IMAGE}", "--ignore-not-found")
        make(
            operated,
            own_migration(operated, CHANGED, drift={"mode": "Detect", "intervalSeconds": INTERVAL_SECONDS}),
            own_migration(operated, NO_IMAGE, image=image, databaseSecretRef={"name": CHANGED, "key": "DATABASE_URL"}),
            own_migration(operated, NO_SERVER, retry=patient),
            minutely(
                operated,
                NO_SERVER,
                databaseSecretRef={"name": NO_SERVER, "key": "DATABASE_URL"},
                startingDeadlineSeconds=10,
                maxRunSeconds=10,
            ),
        )
        yield operated


@pytest.fixture(scope="module")
def adopted(troubled: Installation) -> Iterator[Installation]:
    """A database that has the schema and no list of what was applied, under a resource that two more files are brought by."""
    await_condition(troubled.namespace, "dbm", CHANGED, "Ready", reason="Applied", within=120)
    eventually_sync(lambda: drift_of(troubled) == ("False", "InSync"), within=CHECKED_SECONDS, every=0.5)
    with own_database(troubled, ADOPTED, copy_of=CHANGED):
        asked(troubled, CHANGED, "ALTER TABLE courses ADD COLUMN by_hand integer")  # found while the tests go on
        asked(troubled, ADOPTED, "DROP SCHEMA supabase_migrations CASCADE")
        retry = {"maxAttempts": 50, "backoffSeconds": 1, "maxBackoffSeconds": 1}
        make(
            troubled,
            own_migration(
                troubled,
                ADOPTED,
                approval="Manual",
                baseline=REVISIONS[-1],
                command=command_with(MADE),
                retry=retry,
            ),
        )
        yield troubled


def drift_of(installation: Installation) -> tuple[Any, Any]:
    """What the resource says of its schema."""
    found = condition(reads(installation.namespace, "dbm", CHANGED), "DriftDetected")
    return found.get("status"), found.get("reason")


def shown_drift(installation: Installation) -> str:
    """What stands under DRIFT."""
    header, row = table("-n", installation.namespace, "dbm", CHANGED)
    return row[[each.strip() for each in header].index("DRIFT")].strip()


def annotate(installation: Installation, name: str, **annotations: str) -> None:
    """Set annotations: `approve`, `reconcile_at`."""
    found = [f"ops.coursegen.dev/{key.replace('_', '-')}={value}" for key, value in annotations.items()]
    installation.kubectl("annotate", f"dbm/{name}", *found, "--overwrite")


def approves(installation: Installation, plan: str) -> None:
    """Approve a plan, as its message says, and return when it is applied."""
    annotate(installation, ADOPTED, approve=plan)
    await_condition(installation.namespace, "dbm", ADOPTED, "Ready", reason="Applied", within=AT_WORK_SECONDS)


def awaits_approval(installation: Installation, *pending: str) -> str:
    """The plan of `pending` that waits for it, once there is one."""

    def waits() -> str:
        found = reads(installation.namespace, "dbm", ADOPTED)
        status = found["status"]
        assert condition(found, "PendingApproval")["status"] == "True", status
        assert status["pendingRevisions"] == [each[:14] for each in pending], status
        assert f"ops.coursegen.dev/approve={status['planHash']}" in condition(found, "PendingApproval")["message"]
        return str(status["planHash"])

    return str(eventually_sync(waits, within=AT_WORK_SECONDS, every=0.5))


def brought(installation: Installation) -> str:
    """The plan under which `MADE` was applied; it is approved where no test before has done so."""
    found = reads(installation.namespace, "dbm", ADOPTED)
    if condition(found, "Ready").get("reason") != "Applied":
        approves(installation, awaits_approval(installation, *MADE))
    return str(reads(installation.namespace, "dbm", ADOPTED)["status"]["planHash"])


def takes_back(installation: Installation) -> None:
    """Undo what was changed by hand, once the operator has found it."""
    found = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'by_hand'"
    if asked(installation, CHANGED, found) == "1":
        await_condition(installation.namespace, "dbm", CHANGED, "DriftDetected", within=CHECKED_SECONDS)
        asked(installation, CHANGED, "ALTER TABLE courses DROP COLUMN by_hand")


def tables(installation: Installation, *names: str) -> str:
    """Those of the names that are tables."""
    listed = ", ".join(f"'{each}'" for each in names)
    return asked(installation, ADOPTED, _TABLES.format(f"({listed})"))


def test_an_existing_database_is_adopted_when_that_is_approved(adopted: Installation) -> None:
    """The baseline is noted with the files that follow it, and not before."""
    plan = awaits_approval(adopted, *MADE)
    assert reads(adopted.namespace, "dbm", ADOPTED)["status"]["baselineCount"] == len(REVISIONS)

    approves(adopted, plan)

    status = reads(adopted.namespace, "dbm", ADOPTED)["status"]
    assert "baselineCount" not in status
    versions = asked(adopted, ADOPTED, "SELECT version FROM supabase_migrations.schema_migrations ORDER BY version")
    assert versions.splitlines() == [*REVISIONS, *(each[:14] for each in MADE)]


def test_an_approval_is_good_for_one_time(adopted: Installation) -> None:
    """The same plan after a rollback script: the annotation still has its hash, and nothing is applied by that."""
    before = brought(adopted)
    asked(
        adopted, ADOPTED, "DELETE FROM supabase_migrations.schema_migrations WHERE version > '2099'; DROP TABLE second"
    )
    annotate(adopted, ADOPTED, reconcile_at=f"{time.time()}")

    again = awaits_approval(adopted, *MADE)

    assert again == f"{before}.again2"
    found = reads(adopted.namespace, "dbm", ADOPTED)
    assert found["metadata"]["annotations"]["ops.coursegen.dev/approve"] == before
    assert tables(adopted, "second") == ""
    approves(adopted, again)
    assert tables(adopted, "first", "second") == "first second"


def test_a_change_by_hand_is_found(adopted: Installation) -> None:
    """Named in the condition and by an Event, with the log to read; the resource stays Ready."""
    namespace = adopted.namespace

    found = await_condition(namespace, "dbm", CHANGED, "DriftDetected", within=CHECKED_SECONDS)

    message = condition(found, "DriftDetected")["message"]
    assert "column public.courses.by_hand added" in message
    assert f"kubectl -n {namespace} logs job/" in message
    assert condition(found, "Ready")["status"] == "True"
    assert shown_drift(adopted) == "Drifted"
    said = adopted.kubectl("events", "--for", f"dbm/{CHANGED}", "--types=Warning")
    assert "DriftDetected" in said
    assert "by_hand" in said
    takes_back(adopted)


def test_what_is_left_of_a_plan_goes_on_with_its_approval(adopted: Installation) -> None:
    """Of three files the second and third find something in their way. Who begins anew is asked anew."""
    namespace = adopted.namespace
    brought(adopted)
    asked(adopted, ADOPTED, "CREATE VIEW fourth AS SELECT 1 AS in_the_way; CREATE VIEW fifth AS SELECT 1 AS in_the_way")
    spec = {"command": command_with(MADE | MORE)}
    adopted.kubectl("patch", f"dbm/{ADOPTED}", "--type=merge", "-p", json.dumps({"spec": spec}))
    plan = awaits_approval(adopted, *MORE)
    annotate(adopted, ADOPTED, approve=plan)

    def has_failed_at(revision: str) -> bool:
        status = reads(namespace, "dbm", ADOPTED)["status"]
        last = status["lastAttempt"]
        assert (last["task"], last["outcome"], last.get("revision")) == ("apply", "Failed", revision), status
        return True

    *_, fourth, fifth = (each[:14] for each in MORE)
    eventually_sync(lambda: has_failed_at(fourth), within=AT_WORK_SECONDS, every=0.3)
    assert tables(adopted, "third", "fourth") == "third"
    asked(adopted, ADOPTED, "DROP VIEW fourth")
    eventually_sync(lambda: has_failed_at(fifth), within=AT_WORK_SECONDS, every=0.3)
    assert tables(adopted, "third", "fourth") == "fourth third"
    assert reads(namespace, "dbm", ADOPTED)["metadata"]["annotations"]["ops.coursegen.dev/approve"] == plan

    annotate(adopted, ADOPTED, reconcile_at=f"{time.time()}")

    assert awaits_approval(adopted, list(MORE)[-1]) != plan


def test_a_change_that_was_taken_back_is_found_too(adopted: Installation) -> None:
    """By the next check, with an Event of its own."""
    takes_back(adopted)
    eventually_sync(lambda: drift_of(adopted) == ("False", "InSync"), within=CHECKED_SECONDS, every=0.5)

    assert shown_drift(adopted) == "InSync"
    assert "DriftResolved" in adopted.kubectl("events", "--for", f"dbm/{CHANGED}")


def test_a_server_that_does_not_answer_is_waited_for(troubled: Installation) -> None:
    """For ever: nobody is asked for, and nothing counts."""

    def is_waited_for() -> Object:
        found = reads(troubled.namespace, "dbm", NO_SERVER)
        assert condition(found, "Reconciling").get("reason") == "DatabaseUnreachable", found["status"]
        return found

    found: Object = eventually_sync(is_waited_for, within=AT_WORK_SECONDS, every=0.5)

    status = found["status"]
    assert (condition(found, "Reconciling")["status"], condition(found, "Stalled")["status"]) == ("True", "False")
    assert (status["failedAttempts"], status["consecutiveFailures"]) == (0, 1)
    assert (status["lastAttempt"]["task"], status["lastAttempt"]["outcome"]) == ("plan", "Unreachable")
    message = condition(found, "Ready")["message"]
    assert "nothing@" not in message
    assert f"logs job/{status['lastAttempt']['jobName']}" in message


def test_an_image_that_is_not_there_is_somebodys_to_mend(troubled: Installation) -> None:
    """After a minute in which it might have come; the message names the pod to look at."""
    found = await_condition(
        troubled.namespace, "dbm", NO_IMAGE, "Stalled", reason="ImageNotPulled", within=STALLED_SECONDS
    )

    message = condition(found, "Stalled")["message"]
    assert f"kubectl -n {troubled.namespace} describe pod/{NO_IMAGE}-plan-" in message
    assert found["status"]["failedAttempts"] == 0


def test_runs_that_fail_are_overdue(troubled: Installation) -> None:
    """One Event says so, and names the log and the way to run it at once."""

    def is_told() -> str:
        said = troubled.kubectl("events", "--for", f"rtp/{NO_SERVER}", "--types=Warning")
        assert "Overdue" in said, said
        return said

    said = str(eventually_sync(is_told, within=MINUTELY_SECONDS, every=1))
    assert "RunFailed" in said
    assert "logs job/" in said
    assert "ops.coursegen.dev/run-now" in said
