"""A schema that `helm upgrade` brings up to date, by a migration that fails first and reads well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.operator.conftest import OPERATED
from tests.support.kube.commands import kubectl
from tests.support.kube.installation import Installation, is_available, own_namespace
from tests.support.kube.operator import OperatorRelease, await_condition, condition, reads
from tests.support.kube.values import Values
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

REVISIONS = sorted(each.name[:14] for each in (REPOSITORY / "migrations").glob("*.sql"))
BROWSER_SESSIONS = REVISIONS.index("20251122150000")
"""The one that is made to fail."""
OLD, NEXT, NEW = REVISIONS[BROWSER_SESSIONS - 2], REVISIONS[BROWSER_SESSIONS - 1], REVISIONS[-1]


def wanting(**spec: Any) -> Values:
    """Values whose DatabaseMigration says so."""
    return {"migrations": {"resource": {"spec": spec}}}


@pytest.fixture(scope="module")
def behind(operator: OperatorRelease) -> Iterator[Installation]:
    """An application whose database is some migrations behind its image, because it asks for no more."""
    assert operator.pods()
    with own_namespace("behind") as namespace:
        installation = Installation(namespace, OPERATED)
        installation.install(wanting(targetRevision=OLD))
        await_condition(namespace, "dbm", "main", "Ready", reason="Applied", within=240)
        yield installation


def api_serves(installation: Installation) -> bool:
    """Whether its api is Available."""
    return is_available(installation.get("deployment", f"{installation.fullname}-api"))


def test_an_api_that_is_newer_than_the_schema_waits(behind: Installation) -> None:
    """It is alive and not Ready; the resource says what is applied."""
    status = reads(behind.namespace, "dbm", "main")["status"]

    assert status["currentRevision"] == OLD
    assert behind.sql("SELECT max(version) FROM supabase_migrations.schema_migrations") == OLD
    assert not api_serves(behind)
    assert behind.restarts() == {}


def test_approval_by_hand_is_bound_to_the_plan(behind: Installation) -> None:
    """Nothing is applied before the annotation names the plan's hash; another hash is no approval."""
    namespace = behind.namespace
    behind.install(wanting(approval="Manual", targetRevision=NEXT))
    waiting = await_condition(namespace, "dbm", "main", "PendingApproval", within=60)
    plan = waiting["status"]["planHash"]
    assert f"ops.coursegen.dev/approve={plan}" in condition(waiting, "PendingApproval")["message"]
    behind.kubectl("annotate", "dbm/main", "ops.coursegen.dev/approve=0123456789abcdef")
    time.sleep(3)  # there is nothing to wait for: nothing may happen
    assert condition(reads(namespace, "dbm", "main"), "PendingApproval")["status"] == "True"

    behind.kubectl("annotate", "dbm/main", f"ops.coursegen.dev/approve={plan}", "--overwrite")

    applied = await_condition(namespace, "dbm", "main", "Ready", reason="Applied", within=60)
    assert applied["status"]["approvedPlanHash"] == plan
    assert applied["status"]["currentRevision"] == NEXT
    assert not api_serves(behind)


def test_a_failing_migration_reads_well_and_takes_nothing_down(behind: Installation) -> None:
    """Retries with a backoff, then Stalled; describe names the Job's log; mended by hand and asked anew it goes on."""
    namespace = behind.namespace
    behind.sql("CREATE VIEW browser_sessions AS SELECT 1 AS in_the_way")
    retry = {"maxAttempts": 2, "backoffSeconds": 1, "maxBackoffSeconds": 2}

    behind.install(wanting(targetRevision="head", retry=retry))

    stalled = await_condition(namespace, "dbm", "main", "Stalled", reason="RetryLimitReached", within=180)
    said = behind.kubectl("describe", "dbm", "main")
    message = condition(stalled, "Stalled")["message"]
    assert f"kubectl -n {namespace} logs job/" in message, message
    assert "browser_sessions" in said
    assert stalled["status"]["failedAttempts"] == 2
    assert condition(stalled, "Ready")["status"] == "False"
    assert "condition met" in behind.kubectl("wait", "dbm/main", "--for=condition=Stalled", "--timeout=10s")
    behind.sql("DROP VIEW browser_sessions")
    behind.kubectl("annotate", "dbm/main", f"ops.coursegen.dev/reconcile-at={time.time()}", "--overwrite")
    applied = await_condition(namespace, "dbm", "main", "Ready", reason="Applied", within=120)
    assert applied["status"]["currentRevision"] == NEW
    assert applied["status"]["failedAttempts"] == 0
    eventually_sync(lambda: api_serves(behind), within=90, every=1)


def test_a_missing_secret_is_named(operated: Installation) -> None:
    """And how to make it; found by the pod that waits for it, since the operator reads no Secret."""
    namespace = operated.namespace
    manifest = reads(namespace, "dbm", "main")
    spec = {**manifest["spec"], "databaseSecretRef": {"name": "not-there", "key": "DATABASE_URL"}}
    kubectl("apply", "-f", "-", stdin=_resource(namespace, "lost", spec))
    try:

        def says() -> bool:
            ready = condition(reads(namespace, "dbm", "lost"), "Ready")
            assert ready.get("reason") == "SecretNotFound", ready
            assert "not-there" in ready["message"]
            assert "kubectl" in ready["message"]
            return True

        eventually_sync(says, within=60, every=0.5)
    finally:
        kubectl("-n", namespace, "delete", "dbm", "lost", "--timeout=30s")


def _resource(namespace: str, name: str, spec: dict[str, Any]) -> str:
    return json.dumps(
        {
            "apiVersion": "ops.coursegen.dev/v1alpha1",
            "kind": "DatabaseMigration",
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
    )
