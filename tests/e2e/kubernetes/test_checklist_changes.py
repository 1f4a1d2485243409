"""What changes something in docs/DEPLOYMENT-CHECKLIST.md and docs/SECRETS.md, as printed, on the shared installation.

What cannot be tried there is tried elsewhere: the blocks of `migrations.mode: operator` by tests/e2e/operator. Left out of `make
test`; `make prove-checklist` runs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.support import checklist
from tests.support.clusters import require_cluster
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation, own_namespace, port_forward
from tests.support.kube.page import Shell, make_tools, shell_for
from tests.support.kube.postgresql import own_postgresql
from tests.support.kube.stream_redis import stream_redis
from tests.support.kube.values import CHART, merged
from tests.support.marked import DOCS, typed_as
from tests.support.waiting import eventually_sync

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.install,
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.depth(3),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("PROVE_CHECKLIST"), reason="a proof that runs by hand: make prove-checklist"),
]

PASSED = r"  pass |.*: passed|TEST SUITE|Phase:"
"""Of what a test pod prints: which states of a course it sees is a matter of chance."""
COURSES = 20
"""Of the load test, where the page has a hundred: a machine of tests has two cores."""
CHANGES = "checklist-changes"
REVISIONS = "SELECT count(*) FROM supabase_migrations.schema_migrations"


class Page:
    """Types blocks of the page, and holds them to what it says that they print."""

    def __init__(self, shell: Shell, installation: Installation) -> None:
        self._shell = shell
        self._installation = installation
        self.typed: set[str] = set()
        self.where: set[str] = set()

    def types(self, step: str, holds: str = "", *, lines: str = ".*", **places: str) -> str:
        """What a block prints.

        Args:
            step: how the heading or step above it begins.
            holds: what its commands hold, where there are several under one step.
            lines: which lines of the page must be seen, as a pattern of their beginning; none when empty.
            places: the variables that the page has the reader set.
        """
        (block,) = [each for each in checklist.blocks() if step in each.where and holds in each.commands]
        self.typed.add(block.commands)
        self.where.add(block.where)
        said = self.says("".join(f"{name}={value}\n" for name, value in places.items()) + block.commands)
        wanted = [each for each in (block.output or "").splitlines() if lines and re.match(lines, each)]
        expected = checklist.Block(block.where, "", "", "\n".join(wanted), rows_matter=False)
        assert checklist.unseen(expected, said, self._installation.fullname) == [], (block.where, said)
        return said

    def mends(self, holds: str) -> str:
        """What a command prints that stands in a sentence or table of the page; `holds` is how it begins."""
        (command,) = set(re.findall(rf"`({re.escape(holds)}[^`]*)`", checklist.text()))
        return self.says(command)

    def says(self, commands: str) -> str:
        """What commands print in the page's shell, with the release under the page's name."""
        done = self._shell(commands)
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        return done.stdout.replace(f'Release "{self._installation.release}"', 'Release "coursegen"')


@pytest.fixture
def page(whole: Installation, tmp_path: Path) -> Iterator[Page]:
    """The page's shell for the shared installation, which is put back in the end."""
    values = merged(whole.values, {"tests": {"load": {"courses": COURSES}}})
    typing = shell_for(Installation(whole.namespace, values), tmp_path, seconds=600)
    make_tools(typing, whole.fullname)
    try:
        yield Page(typing, whole)
    finally:
        whole.kubectl("delete", "pod,networkpolicy", "-l", f"{whole.selector},app.kubernetes.io/component=tools")
        whole.install()


def test_what_changes_does_what_the_page_says(page: Page, whole: Installation) -> None:
    """Backup, upgrade, both tests, monitoring, the rollback's first levels, and what mends a fault that was made before."""
    page.types("0.7 The backup", "pg_dump")
    install_and_try(page)
    watch_and_clean(page, whole)
    go_back(page, whole)
    mend_processes(page, whole)
    mend_rows(page, whole)
    mend_schema(page, whole)
    ask_for_help(page, whole)

    assert {
        each.where for each in checklist.blocks() if each.mark == CHANGES and each.commands not in page.typed
    } == set()


def test_the_schema_goes_and_comes_back_both_ways(page: Page, whole: Installation) -> None:
    """Level 4 where a Job migrates: with the backup everything is as before; without it the outbox is empty, and works."""
    before = whole.sql(f"{REVISIONS}; SELECT count(*) FROM courses; SELECT count(*) FROM job_outbox")
    go_to_level_4(page, whole)
    page.types("Back with the backup", "pg_restore --clean", lines="OK")
    whole.wait_ready()
    assert whole.sql(f"{REVISIONS}; SELECT count(*) FROM courses; SELECT count(*) FROM job_outbox") == before

    go_to_level_4(page, whole)
    page.types("Back without it", "migrations.rerun", lines="job.batch")
    whole.wait_ready()
    order(whole)
    eventually_sync(lambda: unfinished(whole) == 0, within=90, every=1)
    assert {each.where for each in checklist.blocks() if each.mark == "checklist-level-4-job"} <= page.where


def test_a_first_installation_with_the_least_values(tmp_path: Path) -> None:
    """Phases 0 and 1 where a Job migrates, on servers that know nothing of coursegen: the login is made, and lets all in."""
    require_cluster()
    with own_namespace("servers") as servers:
        namespace = servers.replace("servers", "first")
        postgresql, redis = own_postgresql(servers), stream_redis(servers)
        redis.begin("of-redis")
        for file, line in (
            ("database.env", f"DATABASE_URL={postgresql.url('coursegen_app', 'of-the-login')}"),
            ("owner.env", f"DATABASE_URL={postgresql.owner_url}"),
            ("redis.env", f"REDIS_URL=redis://:of-redis@{redis.host}:6379/0"),
            ("tokens.env", f"JWT_SECRET={'d' * 32}"),
        ):
            (tmp_path / file).write_text(f"{line}\n", encoding="utf-8")
        least = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text(encoding="utf-8"))
        first = Installation(namespace, merged(least, {"dev": {"enabled": False}}), release="coursegen")
        try:
            install_first(first, tmp_path)
        finally:
            first.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def install_first(first: Installation, folder: Path) -> None:
    """What the page has in its order; the schema is then right, and every process is in."""
    shell = shell_for(first, folder, seconds=900)
    page = Page(shell, first)
    page.types("0.3 Namespace, Secrets, values", "create namespace", lines="secret/")
    page.types("0.3 Namespace, Secrets, values", "helm lint", lines="1 chart")
    make_tools(shell, first.fullname)
    (login,) = typed_as(checklist.PAGE, "checklist-login")
    said = page.says(f"printf 'of-the-login\\n%.0s' 1 2 | {login.text}")
    assert said.splitlines() == login.printed[0].splitlines()[:1]  # what it asks for goes to where a person would sit
    page.types("1.1 Install, or upgrade", "helm upgrade", lines="Release")
    page.types("1.1 Install, or upgrade", "wait job", lines="job.batch/")
    page.types("1.2 Every Deployment is rolled out")
    page.types("1.5 The schema is right")
    assert first.restarts() == {}


def go_to_level_4(page: Page, whole: Installation) -> None:
    """Everything stopped, and the outbox removed; a process that is started then says what it misses."""
    page.types("Stop everything", "scale deployments", lines="$^")
    page.types("Remove it", "000_level_4.sql", lines="(?!DELETE)")
    eventually_sync(  # one that has only just begun says so
        lambda: "job_outbox does not exist" in page.types("Remove it", "/readyz", lines="$^"), within=60, every=1
    )
    assert whole.sql("SELECT to_regclass('job_outbox') IS NULL") == "t"


def test_secrets_are_changed_as_the_page_says(page: Page, whole: Installation, tmp_path: Path) -> None:
    """Every command of docs/SECRETS.md; test_secrets.py shows, with commands of its own, that no request fails meanwhile."""
    for name in ("new", "old"):
        (tmp_path / name).write_text(f"{uuid4()}{uuid4()}", encoding="utf-8")
    (tmp_path / "store.env").write_text(
        "OBJECT_STORE_ACCESS_KEY_ID=A\nOBJECT_STORE_SECRET_ACCESS_KEY=b\n", encoding="utf-8"
    )
    for block in typed_as(DOCS / "SECRETS.md", "secrets-change"):
        page.says(block.text)

    names = {each["metadata"]["name"] for each in whole.items("secrets")}
    assert {f"coursegen-{each}" for each in ("jwt", "database", "database-owner", "engine", "store")} <= names


def install_and_try(page: Page) -> None:
    """Phases 1 to 3."""
    upgraded = page.types("1.1 Install, or upgrade", "helm upgrade", lines="$^")
    assert 'Release "coursegen" has been upgraded.' in upgraded
    page.types("1.1 Install, or upgrade", "wait job", lines="job.batch/")
    page.types("1.6 One relay leads", "get lease")
    smoke = page.types("2.1 Run it", lines=PASSED)
    job = re.findall(r"course \S+, job (\S+)", smoke)[0]
    page.types("2.2 Look at what it left")
    assert page.types("2.3 The job in Redis", JOB=job).strip() == "1"
    page.types("3.1 Run it", lines=PASSED)
    assert re.search(rf"{COURSES} \| +0 \|", page.types("3.2 Look at the rows"))
    assert f"DELETE {COURSES + 1}" in page.types("3.3 Clear up")


def watch_and_clean(page: Page, whole: Installation) -> None:
    """Phase 4 where there is a Prometheus Operator, and the cleanup by hand."""
    if run(["kubectl", "get", "crd", "podmonitors.monitoring.coreos.com"], check=False).returncode == 0:
        assert whole.fullname in page.types("4.1 Metrics", lines="NAME")
    page.types("T.3 Cleanup", "cleanup_processed_outbox_entries()")


def go_back(page: Page, whole: Installation) -> None:
    """The rollback's levels 1 and 2, at which a course is accepted and waits, and what comes before level 3.

    Level 3 itself is typed by test_upgrade.py, which has a release to go back to.
    """
    ours = {each: whole.pod_names(each) for each in whole.processes()}
    page.types("Level 1: monitoring off")
    assert {each: whole.pod_names(each) for each in whole.processes()} == ours

    page.types("Level 2: relay off", "always200", lines="Release")
    page.types("Level 2: relay off", "--replicas=0", lines="(?!pod/)")  # one that has left already is not waited for
    order(whole)
    assert pending(whole) == 1
    page.types("Level 2: relay off", "--replicas=2")
    eventually_sync(lambda: pending(whole) == 0, within=30, every=0.5)

    said = page.types("Level 3: the previous release", "MESSAGES_STREAM_PERCENT=0")
    assert {line.rpartition(" ")[2] for line in said.splitlines() if line.startswith("stream_backlog_entries")} == {"0"}
    whole.install()
    whole.rolled_out("api")


def mend_processes(page: Page, whole: Installation) -> None:
    """Cases 1 and 2: the relay's Role that is gone, workers at 0, a queue that was paused; and a password that was changed."""
    page.types("1. The processor does not start", "auth can-i")
    whole.kubectl("delete", "role,rolebinding", f"{whole.fullname}-outbox-relay")
    page.mends('helm upgrade "$RELEASE" "$CHART" -n "$NS" -f "$VALUES"')
    page.types("1. The processor does not start", "auth can-i")

    whole.kubectl("scale", f"deployment/{whole.fullname}-worker-analysis", "--replicas=0")
    page.mends('kubectl -n "$NS" scale "deployment/$NAME-worker-analysis"')
    whole.rolled_out("worker-analysis")
    queue = "course-generation:analysis"
    whole.sql(f"INSERT INTO queue_controls (saq_queue, paused) VALUES ('{queue}', true)"
              " ON CONFLICT (saq_queue) DO UPDATE SET paused = true")  # fmt: skip
    order(whole)
    (resume,) = re.findall(r"`(sql \"UPDATE queue_controls[^`]*)`", checklist.text())
    assert "UPDATE 1" in page.says(resume.replace("QUEUE", queue))
    eventually_sync(lambda: unfinished(whole) == 0, within=90, every=1)

    whole.sql("ALTER ROLE coursegen_app PASSWORD 'another'")
    said = page.types("The login", lines=" coursegen_app")
    assert whole.secret("app-password") not in said


def mend_rows(page: Page, whole: Installation) -> None:
    """Cases 2 and 3: a dead row goes again, a grant is given back, a course that failed may be started anew."""
    course = order(whole)
    eventually_sync(lambda: unfinished(whole) == 0, within=90, every=1)
    whole.sql(
        "UPDATE job_outbox SET processed_at = NULL, retry_count = max_retries WHERE outbox_id ="
        f" (SELECT outbox_id FROM job_outbox WHERE entity_id = '{course}' ORDER BY position LIMIT 1)"
    )
    assert page.types("2. The queue builds up", "retry_count = 0") == "UPDATE 1\nUPDATE 0\nUPDATE 0\n"
    eventually_sync(lambda: pending(whole) == 0, within=30, every=0.5)

    name = "initiate_generation_v2"
    may = f"SELECT has_function_privilege('coursegen_app', oid, 'EXECUTE') FROM pg_proc WHERE proname = '{name}'"
    whole.sql(f"REVOKE EXECUTE ON FUNCTION {name} FROM service_role")
    assert whole.sql(may) == "f"
    page.mends(f'owner "GRANT EXECUTE ON FUNCTION {name}')
    assert whole.sql(may) == "t"

    failed = str(uuid4())
    whole.sql(
        "INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status)"
        f" SELECT '{failed}', 'Failed', '{failed}', user_id, organization_id, 'error' FROM courses WHERE id = '{course}'"
    )
    assert page.types("3. Initiations fail", "UPDATE courses", COURSE=failed) == "UPDATE 1\n"


def mend_schema(page: Page, whole: Installation) -> None:
    """A function that is missing, with the Job run anew; a column; a search path."""
    applied = whole.sql(REVISIONS)
    (function,) = re.findall(r"Function missing\.\*\* `function (\S+\(.*?\)) does not exist`", checklist.text())
    whole.sql(f"DROP FUNCTION {function}")
    page.types("The schema: Function missing")
    page.types("The schema", 'schema mended"\n', lines=r"job\.batch|applied|\d+ migrations")
    assert whole.sql(f"SELECT to_regprocedure('{function}') IS NOT NULL") == "t"
    assert whole.sql(REVISIONS) == applied

    whole.sql("ALTER TABLE job_outbox DROP COLUMN next_attempt_at")
    page.types("The schema: Column missing")
    order(whole)
    eventually_sync(lambda: unfinished(whole) == 0, within=90, every=1)

    whole.sql(f"ALTER FUNCTION {function} RESET ALL")
    (listing,) = [each for each in checklist.readings() if each.where == "The schema: Search path"]
    (mending,) = re.findall(r"ALTER FUNCTION .*", page.says(listing.commands))
    page.says(f'owner "{mending.strip()}"')
    assert checklist.unseen(listing, page.says(listing.commands), whole.fullname) == []


def ask_for_help(page: Page, whole: Installation) -> None:
    """The file for those who help holds no secret; then the tools go."""
    page.types("Escalation", "incident.txt")
    incident = page.says("grep . incident.txt")
    keys = ("app-password", "owner-password", "redis-password", "jwt-secret", "webhook-keys")
    assert [key for key in keys if whole.secret(key) in incident] == []
    assert all(word in incident for word in ("REVISION", "outboxAlive", "epoch", "redis_version"))
    page.types("Escalation", "delete pod,networkpolicy")


def order(installation: Installation) -> str:
    """A course that is accepted."""
    course, token = str(uuid4()), installation.token(uuid4())
    body = {"courseId": course, "title": "From the page", "hasFiles": False}
    with port_forward(installation, f"service/{installation.fullname}-api", 3000) as url:
        headers = {"Authorization": f"Bearer {token}"}
        httpx.post(f"{url}/api/trpc/generation.initiate", json=body, headers=headers, timeout=30).raise_for_status()
    return course


def pending(installation: Installation) -> int:
    """Rows that wait in the outbox."""
    return int(installation.sql("SELECT count(*) FROM job_outbox WHERE processed_at IS NULL"))


def unfinished(installation: Installation) -> int:
    """Courses under way."""
    closed = "('pending', 'completed', 'error', 'cancelled')"
    return int(installation.sql(f"SELECT count(*) FROM courses WHERE generation_status NOT IN {closed}"))
