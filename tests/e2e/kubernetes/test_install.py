"""Installing from nothing, by the commands of README.md, in a namespace where only restricted pods may run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import checklist
from tests.support.clusters import require_cluster
from tests.support.fences import fences
from tests.support.kube.commands import CommandFailed, kubectl, warnings_in
from tests.support.kube.installation import Installation, is_available, own_namespace
from tests.support.kube.operator import operator_values, removed_operator
from tests.support.kube.postgresql import OwnPostgresql, own_postgresql
from tests.support.kube.readme import README, Reader, commands
from tests.support.kube.values import CHART_VALUES, for_cluster, merged
from tests.support.marked import marked

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(900)]

RELEASE = "coursegen"
LOGIN_PASSWORD = "the-password-of-production"
NUMBER, STREAM_NUMBER = 2, 3
"""Of Redis, for queues and messages. The first installation has 0 and 1: two systems on one stream take each other's messages."""


@dataclass
class Installed:
    """What the reader has, and what he saw on the way."""

    reader: Reader
    installation: Installation
    said: str


def installation_in(namespace: str) -> Installation:
    """The release as an object; nothing is installed by it."""
    return Installation(namespace, {}, release=RELEASE)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Every command of README.md's first block but the last, which waits for Ctrl-C."""
    require_cluster()
    with own_namespace("readme") as namespace:
        reader = Reader(namespace, tmp_path_factory.mktemp("readme"), for_cluster())
        installation = installation_in(namespace)
        *lines, _ = commands("kubernetes")
        try:
            said = reader.types(*lines)
        except CommandFailed as failure:
            raise CommandFailed(f"{failure}\n{installation.story()}") from failure
        yield Installed(reader, installation, said)


def assert_nothing_was_refused(installation: Installation, said: str) -> None:
    """No warning in what commands said, and no event about the security of a pod."""
    assert warnings_in(said) == []
    assert [
        each for each in kubectl("-n", installation.namespace, "events").splitlines() if "PodSecurity" in each
    ] == []


def test_the_readme_installs_from_nothing(installed: Installed) -> None:
    """All Deployments Available, the schema there, `helm test` passed with a message and a course; no restart, no warning."""
    installation = installed.installation
    deployments = installation.items("deployments")
    job = installation.get("jobs")["items"][0]

    assert "STATUS: deployed" in installed.said
    assert installed.said.count("Phase:") == installed.said.count("Succeeded") == 2, installed.said
    assert [
        each
        for each in ("its conversation shows it", "the course is completed")
        if f"pass  {each}" not in installed.said
    ] == []
    assert "warning" not in installed.said.lower()
    assert_nothing_was_refused(installation, installed.said)
    assert len(deployments) == 8
    assert [each["metadata"]["name"] for each in deployments if not is_available(each)] == []
    assert job["status"]["succeeded"] == 1
    assert installation.restarts() == {}


def test_documents_become_a_course_by_the_command(installed: Installed) -> None:
    """Through the port that README.md forwards, with the token that it mints: course.json, cited."""
    *_, forward = commands("kubernetes")
    with installed.reader.keeps_running(forward.replace("3000", ":3000"), until="Forwarding from") as said:
        port = said.partition("127.0.0.1:")[2].partition(" ")[0]
        installed.reader.types(*(line.replace("3000", port) for line in commands("kubernetes-client")))

    course = json.loads((installed.reader.folder / "course.json").read_text(encoding="utf-8"))
    lessons = [lesson for section in course["sections"] for lesson in section["lessons"]]
    assert len(lessons) >= 9
    assert [lesson["title"] for lesson in lessons if not lesson["citations"]] == []


def test_helm_test_says_what_does_not_work(installed: Installed) -> None:
    """Without workers it fails, names the states that message and course are kept in, and what to type next.

    With them it passes again.
    """
    reader, name, writer = installed.reader, "coursegen-worker-analysis", "coursegen-persistence-worker"
    upgrade = f"helm upgrade {RELEASE} charts/coursegen --reuse-values --set tests.timeoutSeconds"
    reader.types(f"{upgrade}=8", f"kubectl scale deployment {name} {writer} --replicas=0")
    reader.types("kubectl wait pod -l app.kubernetes.io/component=persistence-worker --for=delete --timeout=60s")

    with pytest.raises(CommandFailed) as failed:
        reader.types(f"helm test {RELEASE} --logs")
    reader.types(f"kubectl scale deployment {name} {writer} --replicas=1", f"{upgrade}=180")

    said = str(failed.value)
    assert "FAIL  the message is persisted (pending)" in said
    assert "FAIL  the course is completed (stage_4_init)" in said
    for each in (name, writer):
        assert f"kubectl -n {reader.namespace} logs deployment/{each}" in said
    assert "Succeeded" in reader.types(f"helm test {RELEASE}")


@pytest.mark.depth(2)
@pytest.mark.alone
def test_production_is_a_statement_and_eight_lines(installed: Installed, tmp_path: Path) -> None:
    """A login, the operator, four Secrets from files and `helm install`, on servers elsewhere; `helm test` passes.

    PostgreSQL has never heard of coursegen, and its owner is no superuser. Before the operator is there helm refuses, with the
    line that comes first; what the checklist looks for is then there. The operator looks after this one namespace: it has no
    right beyond it, and needs none.
    """
    servers = installed.installation
    with own_namespace("readme-production") as namespace, removed_operator("coursegen-system"):
        small = for_cluster(
            {
                "dev": {"enabled": False},
                "tests": {"timeoutSeconds": 120},
                "migrations": {"mode": CHART_VALUES["migrations"]["mode"]},  # the chart's own
                "config": {"stream": {"REDIS_STREAM_DB": STREAM_NUMBER}},
            }
        )
        alone = {"scope": "namespaced", "watchNamespaces": [namespace]}
        reader = Reader(namespace, tmp_path, small, merged(operator_values(), alone))
        server = own_postgresql(servers.namespace)
        write_addresses(servers, server, tmp_path)
        server.sql(statement() + f"{LOGIN_PASSWORD}\n" * 2)
        *making, install, wait, look = commands("kubernetes-production")
        said = reader.types(*making)
        (bring_operator,) = commands("kubernetes-operator")
        with pytest.raises(CommandFailed) as refused:
            reader.types(install)
        said += reader.types(bring_operator, install, wait, look)
        installation = installation_in(namespace)
        installation.rolled_out(*installation.processes())

        assert bring_operator in str(refused.value)
        assert_the_checklist_finds_it(reader, bring_operator)
        assert_nothing_was_refused(installation, said)
        assert "databasemigration.ops.coursegen.dev/main condition met" in said
        assert (
            kubectl(
                "get",
                "clusterroles,clusterrolebindings",
                "-l",
                "app.kubernetes.io/name=coursegen-operator",
                "-o",
                "name",
            )
            == ""
        )
        assert reader.types(f"helm test {RELEASE}").count("Succeeded") == 3
        assert installation.restarts() == {}
        assert server.sql("SELECT to_regclass('public.courses') IS NOT NULL") == "t"


def statement() -> str:
    """What README.md has the owner of the database say in psql."""
    (found,) = (each.text for each in fences(README.read_text(encoding="utf-8")) if each.language == "sql")
    return found


def assert_the_checklist_finds_it(reader: Reader, bring_operator: str) -> None:
    """Its step 0.1 brings the operator by the same line, and finds the kinds; `main` is waited for in 1.1."""
    blocks = [each for each in checklist.blocks() if each.mark == "checklist-operator"]
    kinds, main, *_ = blocks
    said = reader.types(kinds.commands, f"export NS={reader.namespace}", main.commands)

    assert marked(checklist.PAGE, "checklist-operator-first").strip() == bring_operator
    assert [missing for each in (kinds, main) if (missing := checklist.unseen(each, said, "coursegen"))] == []


def write_addresses(servers: Installation, server: OwnPostgresql, folder: Path) -> None:
    """The files that the Secrets are made from: a server and a number of Redis that nobody else uses."""
    place, _, _ = servers.secret("redis-url").rpartition("/")
    host, colon, port = place.rpartition(":")
    for file, variable, value in (
        ("database", "DATABASE_URL", server.url("coursegen_app", LOGIN_PASSWORD)),
        ("owner", "DATABASE_URL", server.owner_url),
        ("redis", "REDIS_URL", f"{host}.{servers.namespace}{colon}{port}/{NUMBER}"),
        ("tokens", "JWT_SECRET", "a-secret-of-production-0123456789abcdef"),
    ):
        (folder / f"{file}.env").write_text(f"{variable}={value}\n", encoding="utf-8")
