"""The test of the chart that asks the API server whether the release's own resources are Ready."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from operators.coursegen_operator.resources import ALERT_POLICY, DATABASE_MIGRATION, Object, ObjectKey, ResourceType
from tests.charts.conftest import CHART, Render
from tests.charts.objects import of_kind
from tests.support.pretended_api import PretendedApi, pretended_api
from tests.support.tls import make_authority, tls_door

NAME = "cg-coursegen-test-resources"
_DONE = {"type": "Ready", "status": "True", "reason": "Applied", "message": "nothing to do"}
_NOT_DONE = {"type": "Ready", "status": "False", "reason": "RetryLimitReached", "message": "see kubectl logs job/x"}


@dataclass
class Asker:
    """The program of the pod, beside an API server."""

    api: PretendedApi
    environment: dict[str, str]

    def resource(self, of: ResourceType, name: str, condition: Object, *, seen: int = 1) -> ObjectKey:
        """One that the operator has left so."""
        key = ObjectKey(of.kind, "courses", name)
        self.api.cluster.add({
            "apiVersion": of.api_version, "kind": of.kind, "metadata": {"name": name, "namespace": "courses"}, "spec": {},
        })  # fmt: skip
        self.say(key, condition, seen=seen)
        return key

    def say(self, key: ObjectKey, condition: Object, *, seen: int = 1) -> None:
        """The operator's status."""
        self.api.cluster.edit(
            key, lambda item: item.update(status={"observedGeneration": seen, "conditions": [condition]})
        )

    async def run(self, *resources: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """Ask for these."""
        command = [sys.executable, "-I", str(CHART / "files" / "resources.py")]
        environment = {**self.environment, "RESOURCES": " ".join(resources), "TIMEOUT_SECONDS": str(seconds)}
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    """The server speaks TLS with an authority such as many clusters have; the account is what a pod is given."""
    authority = make_authority(tmp_path, "cluster")
    certificate = authority.issue(tmp_path, "server", ["127.0.0.1"])
    (tmp_path / "ca.crt").write_bytes(authority.path.read_bytes())
    async with pretended_api() as api, tls_door(certificate, int(api.url.rpartition(":")[2])) as door:
        (tmp_path / "token").write_text(f"{api.token}\n", encoding="utf-8")
        yield Asker(api, {
            "ACCOUNT_FOLDER": str(tmp_path), "NAMESPACE": "courses",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(door.port),
        })  # fmt: skip


async def test_what_is_ready_passes(asker: Asker) -> None:
    """With one line for each resource, which says how it became so."""
    asker.resource(DATABASE_MIGRATION, "main", _DONE)
    asker.resource(ALERT_POLICY, "platform", {**_DONE, "reason": "PrometheusOperatorAbsent"})

    done = await asker.run("databasemigrations/main", "alertpolicies/platform", seconds=20)

    assert (done.returncode, done.stderr) == (0, "")
    assert "pass  databasemigrations/main is Ready (Applied)" in done.stdout
    assert "pass  alertpolicies/platform is Ready (PrometheusOperatorAbsent)" in done.stdout


async def test_what_becomes_ready_in_time_passes(asker: Asker) -> None:
    """Also when the operator has said so of the generation before: that is waited for, too."""
    key = asker.resource(DATABASE_MIGRATION, "main", _DONE)
    asker.api.cluster.edit(key, lambda item: item["spec"].update(suspend=True))
    asking = asyncio.create_task(asker.run("databasemigrations/main", seconds=20))
    while not asker.api.requests:  # noqa: ASYNC110 - the test looks only at what it has set
        await asyncio.sleep(0.05)
    assert not asking.done()
    asker.say(key, {**_DONE, "reason": "Suspended"}, seen=2)

    assert "is Ready (Suspended)" in (await asking).stdout


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda asker: asker.resource(DATABASE_MIGRATION, "main", _NOT_DONE), "RetryLimitReached: see kubectl logs job/x"),
        (lambda asker: asker.resource(DATABASE_MIGRATION, "main", _DONE, seen=0), "not seen by an operator yet"),
        (lambda asker: None, "404 not found"),
        (lambda asker: asker.api.cluster.absent.add("DatabaseMigration"), "404 404 page not found"),
        (lambda asker: setattr(asker.api, "token", "another"), "401 who are you?"),
        (lambda asker: asker.environment.update(KUBERNETES_SERVICE_PORT="1"), "Connection refused"),
    ],
    ids=["not-ready", "not-seen", "not-there", "no-kinds", "not-allowed", "no-server"],
)  # fmt: skip
async def test_what_is_not_ready_in_time_fails(asker: Asker, prepare: Callable[[Asker], object], said: str) -> None:
    """With the reason, and the command that shows more."""
    prepare(asker)

    done = await asker.run("databasemigrations/main", seconds=0.5)

    assert (done.returncode, done.stderr) == (1, "")
    assert "FAIL  databasemigrations/main is Ready (" in done.stdout
    assert said in done.stdout
    assert "kubectl -n courses describe databasemigrations main" in done.stdout


def test_the_pod_asks_for_every_resource_of_the_release(render: Render) -> None:
    """By an account of its own, which may read those and no others."""
    sets = ["retention.policies.outbox=null", "migrations.resource.name=courses"]
    objects = render("minimal", *sets)
    ours = [each for each in objects if each["apiVersion"].startswith("ops.coursegen.dev/")]
    (container,) = of_kind(objects, "Pod")[NAME]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}

    asked = [each.split("/") for each in variables["RESOURCES"].split()]
    assert sorted(name for _, name in asked) == sorted(each["metadata"]["name"] for each in ours)
    assert {plural for plural, _ in asked} == {"databasemigrations", "retentionpolicies", "alertpolicies"}
    assert of_kind(objects, "Pod")[NAME]["spec"]["serviceAccountName"] == NAME
    rules = of_kind(objects, "Role")[NAME]["rules"]
    assert sorted((rule["resources"][0], name) for rule in rules for name in rule["resourceNames"]) == sorted(
        (plural, name) for plural, name in asked
    )
    assert (
        container["command"][1].removeprefix("/programs/")
        in of_kind(objects, "ConfigMap")["cg-coursegen-tests"]["data"]
    )


@pytest.mark.parametrize("sets", [["migrations.mode=job"], ["tests.enabled=false"]])
def test_without_resources_or_tests_there_is_none_of_it(render: Render, sets: list[str]) -> None:
    """Neither pod nor rights."""
    assert [each["kind"] for each in render("minimal", *sets) if each["metadata"]["name"] == NAME] == []


def test_roles_and_account_may_be_yours(render: Render) -> None:
    """As for the relay."""
    sets = ["rbac.create=false", "tests.serviceAccount.create=false", "tests.serviceAccount.name=mine"]
    objects = render("minimal", *sets)

    assert {each["kind"] for each in objects if each["metadata"]["name"] == NAME} == {"Pod"}
    assert of_kind(objects, "Pod")[NAME]["spec"]["serviceAccountName"] == "mine"
