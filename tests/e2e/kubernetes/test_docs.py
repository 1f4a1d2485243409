"""What README.md, docs/ and the runbooks have a reader type on a cluster, typed as it stands there, on the shared installation.

What test_checklist.py, test_install.py and the proofs type is not repeated here.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import checklist
from tests.support.kube.commands import kubectl
from tests.support.kube.installation import Installation, own_namespace
from tests.support.kube.operator import kinds_there
from tests.support.kube.page import Shell, make_tools, shell_for
from tests.support.kube.readme import context_in
from tests.support.kube.values import CHART
from tests.support.marked import DOCS, Commands, marked, typed_as
from tests.support.rehearsal import rehearsed, typed_inline
from tests.support.servers import REPOSITORY
from tests.support.typist import finds_or_not
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(3), pytest.mark.timeout(600)]

RUNBOOKS = "runbooks-cluster"
ELSEWHERE = ("sql", "owner", "admin")
"""What these are followed by is typed where more may be changed: tests/integration/test_sql_on_pages.py, test_admin_word.py."""
SILENT = ("ApiErrorBudgetBurnFast", "ApiErrorBudgetBurnSlow", "MessagesNotPersisted")
"""Of these the command shows nothing where nothing is wrong."""
_AT_ONCE = 4
"""Blocks that run side by side: most of their time kubectl waits."""
_ADDRESSES = {
    "database.env": "DATABASE_URL=postgresql://coursegen_app:a@postgresql:5432/courses",
    "owner.env": "DATABASE_URL=postgresql://owner:b@postgresql:5432/courses",
    "redis.env": "REDIS_URL=redis://:c@redis:6379/0",
    "tokens.env": f"JWT_SECRET={'d' * 32}",
}
"""The files that the checklist's step 0.3 asks for."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are read."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def shell(shared: Installation, folder: Path) -> Iterator[Shell]:
    """Runs commands in bash behind the checklist's words, for the shared installation, with the tools pod of step 0.4."""
    shared.wait_ready(seconds=180)
    run_block = shell_for(shared, folder)
    make_tools(run_block, shared.fullname)
    yield lambda commands: run_block(finds_or_not(commands))
    component = f"{shared.selector},app.kubernetes.io/component=tools"
    shared.kubectl("delete", "pod,networkpolicy", "-l", component, "--wait=false")


def typed(shell: Shell, blocks: list[Commands]) -> dict[str, str]:
    """What each block prints, by where it stands.

    Raises:
        AssertionError: a command of one of them failed.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = list(pool.map(lambda each: shell(each.text), blocks))
    failed = {
        each.where: end.stderr + end.stdout for each, end in zip(blocks, done, strict=True) if end.returncode != 0
    }
    assert failed == {}
    return {each.where: end.stdout for each, end in zip(blocks, done, strict=True)}


def test_the_runbooks_can_be_followed(shell: Shell, shared: Installation) -> None:
    """Every command that confirms an alert, or looks further, ends well; the one that confirms it has something to say."""
    pages = [each for each in sorted((DOCS / "runbooks").glob("*.md")) if f"tested: {RUNBOOKS} -->" in each.read_text()]
    blocks = [block for page in pages for block in typed_as(page, RUNBOOKS)]
    said = typed(shell, blocks)

    confirming = [typed_as(page, RUNBOOKS)[0] for page in pages if page.stem not in SILENT]
    assert len(pages) > 20
    assert [each.where for each in confirming if not said[each.where].strip()] == []
    assert shared.secret("app-password") not in str(said)


def test_what_stands_in_sentences_can_be_typed(shell: Shell, shared: Installation) -> None:
    """Every command between code marks of the runbooks, but for those of the operator, so that nothing changes by it."""
    jobs = shared.items("jobs", "-l", f"{shared.selector},app.kubernetes.io/component=migrate")
    history = shared.helm("history", shared.release, "-o", "json")
    names = {
        "POD": min(shared.pod_names("api")),
        "JOB": jobs[-1]["metadata"]["name"],
        "REVISION": re.findall(r'"revision":(\d+)', history)[0],
    }
    ours = [each for each in typed_inline() if not each.needs_the_operator and each.word not in ELSEWHERE]
    blocks = [Commands(each.page, 0, (), f"{rehearsed(each, names)}\n", ()) for each in ours]
    typed(shell, blocks)

    assert len(blocks) > 25
    assert shared.helm("history", shared.release, "-o", "json") == history


def test_an_administrator_needs_kubectl_alone(shell: Shell, shared: Installation) -> None:
    """The checklist's word pauses a queue, changes a limit and takes both back, and shows what would become of dead letters."""
    (block,) = (each for each in checklist.blocks() if each.mark == "checklist-admin")
    done = shell(block.commands)

    assert done.returncode == 0, (done.stdout, done.stderr)
    assert checklist.unseen(block, done.stdout, shared.fullname) == []
    assert shared.sql("SELECT count(*) FROM queue_controls WHERE paused") == "0"
    assert shared.sql("SELECT count(*) FROM concurrency_limits") == "0"
    assert (
        shared.sql("SELECT DISTINCT user_id FROM admin_actions WHERE action LIKE 'queue.%'")
        == "00000000-0000-4000-8000-0000000000ad"
    )
    assert shared.secret("jwt-secret") not in done.stdout + done.stderr

    refused = shell("admin POST queues/course-generation:nothing/pause")
    assert refused.returncode != 0
    assert '"error"' in refused.stdout


def test_one_pod_is_asked_by_its_name(shell: Shell, shared: Installation) -> None:
    """As by the loop over all of them."""
    for pod in shared.pod_names("api"):
        assert shell(f"ask pod/{pod} 3000 /api/trpc/metrics.healthCheck queueDepth").stdout.startswith("queueDepth ")


def test_a_word_makes_the_pod_that_it_needs(shell: Shell, shared: Installation) -> None:
    """When there is none, and when its time is over; beside one that runs it makes no other."""
    name = f"{shared.fullname}-tools"
    shared.kubectl("delete", "pod", name)
    assert f"pod/{name} replaced" in shell('sql "SELECT 1 AS one"').stderr
    first = shared.get("pod", name)["metadata"]["uid"]
    # A network may let a new pod out a moment after its start.
    eventually_sync(lambda: shell('sql "SELECT 1 AS one"').stdout.startswith(" one "), within=30, every=1)
    assert shell("stream PING").stdout == "PONG\n"
    assert shared.get("pod", name)["metadata"]["uid"] == first

    shared.kubectl("patch", "pod", name, "-p", '{"spec":{"activeDeadlineSeconds":1}}')
    shared.kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
    assert f"pod/{name} replaced" in shell("redis PING").stderr
    eventually_sync(lambda: shell("redis PING").stdout == "PONG\n", within=30, every=1)


def test_the_leader_is_found_and_moved(shell: Shell, whole: Installation) -> None:
    """By the commands of docs/LEADER-ELECTION.md: another pod leads a moment later."""

    def leader() -> str:
        return str(whole.get("lease", f"{whole.fullname}-outbox-relay")["spec"].get("holderIdentity", ""))

    before = leader()
    said = typed(shell, typed_as(DOCS / "LEADER-ELECTION.md", "leader-looks"))
    assert before in str(said)
    assert eventually_sync(lambda: leader() not in {"", before}, within=30, every=0.2)


def test_ten_checks_of_the_release(shell: Shell, shared: Installation) -> None:
    """By the command of docs/VERIFICATION.md; a warning is no failure."""
    (block,) = typed_as(DOCS / "VERIFICATION.md", "verification-namespace")
    script = block.text.replace("scripts/", f"{REPOSITORY}/scripts/")  # the shell stands beside the repository
    done = shell(script)

    assert done.returncode in {0, 2}, done.stdout + done.stderr
    assert f"release {shared.release} in namespace {shared.namespace}" in done.stdout
    assert "of 10 checks passed" in done.stdout


@pytest.fixture
def made() -> Iterator[list[str]]:
    """Namespaces that a page has made; they go afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_a_namespace_is_made_ready(shell: Shell, folder: Path, made: list[str]) -> None:
    """By README.md, for a context of one's own; by the checklist with four Secrets, and the API server takes what would come."""
    ours, theirs = (f"docs-{secrets.token_hex(3)}" for _ in range(2))
    made += [ours, theirs]
    said = subprocess.run(
        ["bash", "-ec", marked(REPOSITORY / "README.md", "kubernetes-namespace").replace("coursegen", ours)],
        env={**os.environ, "KUBECONFIG": str(context_in("default", folder))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith(f"namespace/{ours} created\n")

    for name, line in _ADDRESSES.items():
        (folder / name).write_text(f"{line}\n", encoding="utf-8")
    making, looking = (each for each in checklist.blocks() if each.mark == "checklist-first")
    for block in (making, looking):
        done = shell(f"NS={theirs}\n{block.commands}")
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
        if block is making:
            assert checklist.unseen(block, done.stdout.replace(theirs, "courses"), "coursegen") == []
        else:
            assert "0 chart(s) failed" in done.stdout
            assert done.stdout.count("(server dry run)") > 15


def test_the_least_values_are_looked_at(shell: Shell, folder: Path) -> None:
    """Where the operator's kinds are missing the reader finds so, twice; with `migrations.mode: job` a Job would come."""
    least = CHART / "ci" / "minimal-values.yaml"
    by_job = folder / "by-job-values.yaml"
    by_job.write_text(least.read_text(encoding="utf-8") + "migrations: {mode: job}\n", encoding="utf-8")
    kinds, *_ = (each for each in checklist.blocks() if each.mark == "checklist-operator")
    *_, looking = (each for each in checklist.blocks() if each.mark == "checklist-first")

    found = shell(kinds.commands)
    with own_namespace("docs") as namespace:
        words = (f"NS={namespace}\nVALUES={values}\n" for values in (least, by_job))
        operated, alone = (shell(each + looking.commands) for each in words)

    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == len(kinds_there())
    assert ('no matches for kind "DatabaseMigration"' in operated.stderr) is (kinds_there() == []), operated.stderr
    assert alone.returncode == 0, alone.stderr
    assert re.search(r"^job\.batch/\S+-migrate-\w+ created \(server dry run\)$", alone.stdout, re.MULTILINE)
