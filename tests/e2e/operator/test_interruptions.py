"""A migration broken off in the middle of a statement, by a kill or a deletion, and one that goes on while nobody leads: each
file is applied once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from operators.coursegen_operator.resources import LABEL_TASK
from tests.support.kube.commands import Object, kubectl
from tests.support.kube.installation import Installation
from tests.support.kube.operator import OperatorRelease, await_condition, condition, reads
from tests.support.kube.own_migrations import asked, own_database, own_migration
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(600)]

NAME = "interrupted"
REVISIONS = sorted(each.name[:14] for each in (REPOSITORY / "migrations").glob("*.sql"))
KILLED_SECONDS = 20.0
BUSY_SECONDS = 5.0
ENDED_SECONDS = 60.0
"""To the end of a pod that is told to stop, which Kubernetes waits for for half a minute, and to the next Job."""
_SLOW = """
CREATE SCHEMA slow;
CREATE TABLE slow.down (name text PRIMARY KEY);
CREATE FUNCTION slow.wait() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
    v_name text := (SELECT name FROM slow.down JOIN pg_event_trigger_ddl_commands() AS made
                    ON made.command_tag = 'CREATE TABLE' AND made.object_identity = 'public.' || name);
BEGIN
    WHILE EXISTS (SELECT FROM slow.down WHERE name = v_name) LOOP
        PERFORM pg_sleep(1);
    END LOOP;
END $$;
CREATE EVENT TRIGGER slow ON ddl_command_end EXECUTE FUNCTION slow.wait();
INSERT INTO slow.down VALUES ('job_outbox');
"""
"""Makes one statement of a real migration last, the one that makes the table, for as long as its name stands there."""
_APPLIED = "SELECT version, xmin FROM supabase_migrations.schema_migrations ORDER BY version"
_SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'interrupted' AND wait_event = 'PgSleep'"


@pytest.fixture
def database(operated: Installation) -> Iterator[Installation]:
    """An empty database beside the application's own, with a Secret that leads to it; its DatabaseMigration goes with it."""
    with own_database(operated, NAME):
        yield operated


@pytest.fixture
def migration(database: Installation) -> Object:
    """A DatabaseMigration as the application's own, for the empty database: not made yet."""
    return own_migration(database, NAME, retry={"maxAttempts": 2, "backoffSeconds": 1, "maxBackoffSeconds": 2})


def in_the_middle(database: Installation, *, after: str = "") -> str:
    """Return when a statement runs in a Job after that one; its name, by the status, which says that it is at work."""

    def runs() -> str:
        assert database.sql(_SLEEPING) == "1"
        found = reads(database.namespace, "dbm", NAME)
        last = found["status"].get("lastAttempt", {})
        assert (condition(found, "Ready")["reason"], last.get("outcome")) == ("Migrating", "Running"), found["status"]
        assert condition(found, "Reconciling")["status"] == "True"
        assert last["jobName"] != after
        return str(last["jobName"])

    return str(eventually_sync(runs, within=90, every=0.3))


def applying(database: Installation) -> dict[str, str]:
    """The Jobs that were made to apply it, and how each has ended."""
    jobs = [
        each
        for each in database.items("jobs", "-l", "ops.coursegen.dev/task=apply")
        if each["metadata"]["ownerReferences"][0]["name"] == NAME
    ]
    return {
        each["metadata"]["name"]: next(
            (one["type"] for one in each["status"].get("conditions", ()) if one["type"] in {"Complete", "Failed"}), ""
        )
        for each in jobs
    }


def test_whoever_is_killed_each_migration_is_applied_once(
    operator: OperatorRelease, database: Installation, migration: Object
) -> None:
    """First the Job's pod, in a statement; in the next attempt the leader: the Job is taken up, not repeated."""
    eventually_sync(lambda: len(operator.pods()) == 2 and operator.leader(), within=120, every=0.5)
    asked(database, NAME, _SLOW)
    kubectl("apply", "-f", "-", stdin=json.dumps(migration))
    first = in_the_middle(database)
    done = dict(line.split("|") for line in asked(database, NAME, _APPLIED).splitlines())
    assert REVISIONS[0] in done
    assert len(done) == REVISIONS.index("20251118094238")

    database.kubectl("delete", "pod", "-l", f"job-name={first}", "--grace-period=0", "--force")
    eventually_sync(lambda: database.sql(_SLEEPING) == "0", within=KILLED_SECONDS, every=0.3)
    asked(database, NAME, "UPDATE slow.down SET name = 'browser_sessions'")

    second = in_the_middle(database, after=first)
    failed = reads(database.namespace, "dbm", NAME)["status"]
    assert failed["failedAttempts"] == 1
    assert applying(database)[first] == "Failed"
    gone, _ = operator.signal_leader("SIGKILL")
    eventually_sync(
        lambda: operator.lease().get("holderIdentity") not in {None, "", gone},
        within=KILLED_SECONDS + BUSY_SECONDS,
        every=0.3,
    )
    assert in_the_middle(database) == second
    asked(database, NAME, "DELETE FROM slow.down")

    ready = await_condition(database.namespace, "dbm", NAME, "Ready", reason="Applied", within=90)

    assert applying(database) == {first: "Failed", second: "Complete"}
    status = ready["status"]
    assert (status["currentRevision"], status["failedAttempts"], status["pendingCount"]) == (REVISIONS[-1], 0, 0)
    assert (status["lastAttempt"]["jobName"], status["lastAttempt"]["outcome"]) == (second, "Succeeded")
    rows = dict(line.split("|") for line in asked(database, NAME, _APPLIED).splitlines())
    assert sorted(rows) == REVISIONS
    assert {version: rows[version] for version in done} == done, "a migration was applied again"
    said = Counter(line.split()[1] for line in _log(database, second) if line.startswith("applied "))
    assert said == Counter(each for each in REVISIONS if each not in done)


def test_a_job_that_is_deleted_at_work_is_made_anew_when_its_pod_has_ended(
    database: Installation, migration: Object
) -> None:
    """Never two at once. Nothing counts as failed, and each file is applied once."""
    asked(database, NAME, _SLOW)
    kubectl("apply", "-f", "-", stdin=json.dumps(migration))
    job = in_the_middle(database)
    done = dict(line.split("|") for line in asked(database, NAME, _APPLIED).splitlines())
    before = str(database.get("job", job)["metadata"]["uid"])

    database.kubectl("delete", "job", job, "--wait=false")

    def is_anew() -> bool:
        # Jobs are read before pods: whatever has ended in between has ended later than the new Job was seen.
        found = database.items("jobs,pods", "-l", f"{LABEL_TASK}=apply")
        uids = {each["metadata"]["uid"] for each in found if each["kind"] == "Job" and each["metadata"]["name"] == job}
        old = [each for each in found if each["kind"] == "Pod" and _owner(each) == before]
        is_there = bool(uids - {before})
        if is_there and any(each["status"]["phase"] in {"Pending", "Running"} for each in old):
            pytest.fail("two Jobs were at work at once")
        return is_there

    eventually_sync(is_anew, within=ENDED_SECONDS, every=0.2)
    assert in_the_middle(database) == job
    asked(database, NAME, "DELETE FROM slow.down")

    ready = await_condition(database.namespace, "dbm", NAME, "Ready", reason="Applied", within=90)

    assert ready["status"]["failedAttempts"] == 0
    assert applying(database) == {job: "Complete"}
    rows = dict(line.split("|") for line in asked(database, NAME, _APPLIED).splitlines())
    assert sorted(rows) == REVISIONS
    assert {version: rows[version] for version in done} == done, "a migration was applied again"


def _owner(pod: Object) -> str:
    return str(next((each["uid"] for each in pod["metadata"].get("ownerReferences", ())), ""))


def _log(database: Installation, job: str) -> list[str]:
    return database.kubectl("logs", f"job/{job}").splitlines()
