"""From the previous version of the chart to this one and back, while courses are ordered all the time.

What changes is the chart. Both revisions run this tree's images and migrations, since no release came before: this shows
that no pod leaves too early or comes too late, and not that older code runs on a newer schema. That is shown by processes as they
were before the newest migration (tests/faults/test_older_code.py). Others show more of it: no migration drops a table or a
column (tests/unit/docs/test_checklist.py); applied over rows, none loses one (tests/migrations/test_each_migration.py); a
process waits while the schema is too old for it (tests/integration/test_start_wait.py); the ways back do what they say
(tests/migrations/test_rollbacks.py). With the next release its images belong beside the chart in `previous`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import checklist
from tests.support.clusters import require_cluster
from tests.support.kube.clients import PROGRAMS, Client, client_pod, load_on
from tests.support.kube.installation import Installation, is_available, own_namespace
from tests.support.kube.page import Shell, shell_for
from tests.support.kube.values import CHART, Values
from tests.support.limits import RAISED
from tests.support.previous import PREVIOUS, present_version, previous_version
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.install,
    pytest.mark.timeout(900),
    pytest.mark.no_second_try,
]

NONE = {"replicaCount": 0}
SERVERS: Values = {
    "api": NONE,
    "outboxRelay": NONE,
    "stageWorker": {**NONE, "queues": dict.fromkeys(("documents", "generation", "webhooks"))},
    "dev": {"postgresql": {"persistence": {"enabled": False}}},
    "tests": {"enabled": False},
}
"""A release of nothing but PostgreSQL and Redis, elsewhere in production too; its Job may have made the schema first."""
SECRET = "servers-coursegen-dev"
VALUES: Values = {
    "dev": {"enabled": False},
    "database": {
        "existingSecret": SECRET,
        "key": "database-url",
        "migrations": {"existingSecret": SECRET, "key": "owner-database-url"},
    },
    "redis": {"existingSecret": SECRET, "key": "redis-url"},
    "auth": {"jwtSecret": {"existingSecret": SECRET, "key": "jwt-secret"}},
    "api": {"replicaCount": 1},
    "outboxRelay": {"replicaCount": 1},
    "config": {"api": dict(RAISED)},
}
"""One of each: nobody takes over for a pod that leaves too early, or comes too late."""
AGAIN: Values = {"config": {"relay": {"LOG_LEVEL": "warn"}}}
"""The same release once more, as most steps of the checklist make it: the revision before is not that of the previous release."""
ROLLBACK_SECONDS = 700.0
PER_SECOND = 1.5
"""Of each of the two clients of a load."""


@dataclass(frozen=True)
class Production:
    """A release of the application, and the servers that it does not own."""

    courses: Installation
    servers: Installation


@pytest.fixture
def production() -> Iterator[Production]:
    """The previous version, installed."""
    require_cluster()
    with own_namespace("upgrade") as namespace:
        servers = Installation(namespace, SERVERS, release="servers")
        courses = Installation(namespace, VALUES)
        servers.install()
        courses.install(chart=PREVIOUS, unknown={"persistenceWorker"})
        courses.wait_ready()
        yield Production(courses, servers)


def made_by(author: Client) -> dict[str, Any]:
    """A course from a document."""
    author.copy_in(REPOSITORY / "examples" / "3-replication-and-failover.md")
    made: dict[str, Any] = json.loads(author.python((PROGRAMS / "course.py").read_text(encoding="utf-8"), seconds=300))
    return made


def read_again(author: Client, course: str) -> dict[str, Any]:
    """The course as the api gives it now."""
    program = f"""
import os, httpx
headers = {{"Authorization": "Bearer " + os.environ["API_TOKEN"]}}
print(httpx.get(os.environ["API_URL"] + "/api/courses/{course}/result", headers=headers).raise_for_status().text)
"""
    read: dict[str, Any] = json.loads(author.python(program))
    return read


def migrations_of(installation: Installation) -> set[str]:
    """The Jobs that migrate; each has to be done."""
    jobs = installation.items("jobs", "-l", f"{installation.selector},app.kubernetes.io/component=migrate")
    assert [each["metadata"]["name"] for each in jobs if each["status"].get("succeeded") != 1] == []
    return {each["metadata"]["name"] for each in jobs}


def goes_back(shell: Shell, installation: Installation) -> None:
    """Level 3 of the checklist, as printed, with the revision that a reader chooses from the history by what the page says."""
    blocks = [each for each in checklist.blocks() if each.mark == "checklist-level-3"]
    looking, going = blocks
    seen = shell(looking.commands)
    assert seen.returncode == 0, seen.stderr
    done = shell(f"REVISION={checklist.chosen_revision(seen.stdout)}\n{going.commands}")
    assert done.returncode == 0, (done.stdout, done.stderr, installation.story())
    expected = checklist.Block(going.where, "", "", "Rollback was a success! Happy Helming!\n", rows_matter=False)
    assert checklist.unseen(expected, done.stdout, installation.fullname) == []


def test_upgrade_and_rollback_lose_no_request_and_no_course(production: Production, tmp_path: Path) -> None:
    """0 of the orders fail, each is one course that is finished, and what was made before is there unchanged.

    The way back is level 3 of the checklist, after two upgrades to this version.
    """
    installation, servers = production.courses, production.servers
    shell = shell_for(installation, tmp_path, seconds=ROLLBACK_SECONDS)
    url, token = f"http://{installation.fullname}-api:3000", servers.token()
    with (
        client_pod(installation.namespace, "author", environment={"API_URL": url, "API_TOKEN": token}) as author,
        load_on(installation.namespace, url=url, token=token, per_second=PER_SECOND) as load,
    ):
        before = made_by(author)
        jobs = [migrations_of(installation)]
        for step in ("upgrade", "rollback"):
            if step == "upgrade":
                installation.install(chart=CHART)
            else:
                installation.install(AGAIN, chart=CHART)
                installation.wait_ready()
                goes_back(shell, installation)
            installation.wait_ready()
            jobs.append(migrations_of(installation))
            assert [
                each["metadata"]["name"] for each in installation.items("deployments") if not is_available(each)
            ] == []
            assert read_again(author, before["id"]) == before["course"]
        report = load.report()

    assert report["failures"] == []
    assert len(report["accepted"]) == report["attempts"] > 50
    assert_all_are_finished(servers, report["accepted"])
    assert [len(each) for each in jobs] == [1, 1, 1]
    assert jobs[0] == jobs[2] != jobs[1]
    assert installation.restarts() == {}
    assert_the_history(installation)


def assert_all_are_finished(servers: Installation, accepted: list[str]) -> None:
    """Each accepted order is one course, completed within 120 s of the last."""
    ids = ",".join(f"'{each}'" for each in accepted)
    unfinished = f"SELECT count(*) FROM courses WHERE id IN ({ids}) AND generation_status <> 'completed'"
    assert servers.sql(f"SELECT count(*) FROM courses WHERE id IN ({ids})") == str(len(accepted))
    eventually_sync(lambda: servers.sql(unfinished) == "0", within=120, every=1)


def assert_the_history(installation: Installation) -> None:
    """Four revisions: the previous version, this one twice, and the way back."""
    history = json.loads(installation.helm("history", installation.release, "-o", "json"))

    assert [(each["revision"], each["status"], each["chart"]) for each in history] == [
        (1, "superseded", f"coursegen-{previous_version()}"),
        (2, "superseded", f"coursegen-{present_version()}"),
        (3, "superseded", f"coursegen-{present_version()}"),
        (4, "deployed", f"coursegen-{previous_version()}"),
    ]
    assert history[3]["description"] == "Rollback to 1"
