"""A migration that cannot succeed: the old pods go on, its log says what to do, and corrected values are all that is needed."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from tests.support.clusters import require_cluster
from tests.support.kube.commands import Object
from tests.support.kube.installation import Installation, own_namespace, port_forward
from tests.support.kube.values import Values
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(2), pytest.mark.timeout(300)]

NONE = {"replicaCount": 0}
VALUES: Values = {
    "api": {"replicaCount": 1},
    "outboxRelay": NONE,
    "stageWorker": {**NONE, "queues": dict.fromkeys(("documents", "generation", "webhooks"))},
    "migrations": {"backoffLimit": 0},
    "dev": {"postgresql": {"persistence": {"enabled": False}}},
    "tests": {"enabled": False},
}
"""One api, which nobody stands in for; the Job gives up at its first failure, so that nobody waits for its pauses."""
NEXT = "moved"
"""A database without a schema, to which the upgrade goes: the new pods cannot do without the migration."""


@pytest.fixture
def installation() -> Iterator[Installation]:
    """Installed and ready, with the database of the upgrade beside its own."""
    require_cluster()
    with own_namespace("failed-migration") as namespace:
        installed = Installation(namespace, VALUES)
        installed.install()
        installed.wait_ready()
        installed.sql(f"CREATE DATABASE {NEXT}")
        yield installed


def next_database(installation: Installation, *, password: str) -> Values:
    """The addresses of the upgrade; `password` is the owner's in them."""

    def elsewhere(key: str) -> str:
        return installation.secret(key).rpartition("/")[0] + f"/{NEXT}"

    owner = elsewhere("owner-database-url").replace(installation.secret("owner-password"), password)
    stream = {
        "stream": {"REDIS_STREAM_DB": 2}
    }  # another database is another installation: the old one's stream is refused
    return {"database": {"url": elsewhere("database-url"), "migrations": {"url": owner}}, "config": stream}


def failed_job(installation: Installation) -> str:
    """The name of the Job that has given up; empty while there is none."""
    jobs = installation.items("jobs", "-l", f"{installation.selector},app.kubernetes.io/component=migrate")
    failed = [each for each in jobs if _has(each, "Failed")]
    return f"job/{failed[0]['metadata']['name']}" if failed else ""


def _has(job: Object, condition: str) -> bool:
    conditions = job["status"].get("conditions", ())
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def started(installation: Installation, *, beside: set[str]) -> list[str]:
    """Names of the api's other pods, of those whose container has passed its startup probe."""
    return [
        each["metadata"]["name"]
        for each in installation.pods("api", running=False)
        if each["metadata"]["name"] not in beside
        and any(status.get("started") for status in each["status"].get("containerStatuses", ()))
    ]


def answer(installation: Installation, pod: str, path: str, *, port: int = 3000) -> int:
    """How this pod itself answers, whether a Service sends anybody to it or not."""
    with port_forward(installation, f"pod/{pod}", port) as url:
        headers = {"Authorization": f"Bearer {installation.token()}"}
        return httpx.get(f"{url}{path}", headers=headers, timeout=30).status_code


def test_a_wrong_owner_stops_the_upgrade_and_nothing_else(installation: Installation) -> None:
    """The old api is ready and answers, the new one lives and is not; the Job's log names the address; the right one mends it."""
    (old,) = installation.pod_names("api")
    right = installation.secret("owner-password")
    no_course = f"/api/courses/{uuid4()}"  # asks the database

    installation.install(next_database(installation, password="not-the-owners"))
    job = eventually_sync(lambda: failed_job(installation), within=60, every=0.5)
    said = installation.kubectl("logs", job)
    (new,) = eventually_sync(lambda: started(installation, beside={old}), within=60, every=0.5)

    assert "PostgreSQL refuses the login" in said
    assert "look at DATABASE_URL" in said
    assert answer(installation, new, "/readyz", port=9090) == 503
    assert {each["metadata"]["name"] for each in installation.pods("api")} == {old}
    assert answer(installation, old, no_course) == 404

    installation.install(next_database(installation, password=right))
    installation.wait_ready(seconds=90)

    (mended,) = (each["metadata"]["name"] for each in installation.pods("api"))
    assert mended not in {old, new}
    assert answer(installation, mended, no_course) == 404
    assert installation.sql(f"\\c {NEXT}\nSELECT to_regclass('public.courses') IS NOT NULL") == "t"
    assert installation.restarts() == {}
