"""What is read of the cluster: reports, rollouts, pods that do not start, and who is asked for what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from operators.coursegen_operator.errors import NotPermitted
from operators.coursegen_operator.migrations.planner import MigrationKind
from operators.coursegen_operator.migrations.progress import delay_seconds, later
from operators.coursegen_operator.migrations.report import parse
from operators.coursegen_operator.migrations.rollout import migrations_label, rollout_of
from operators.coursegen_operator.migrations.spec import Retry
from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.resources import Object, ResourceType
from tests.unit.operators.coursegen_operator.migrations.world import START, World, new_resource

_RETRY = Retry(max_attempts=5, backoff_seconds=30, max_backoff_seconds=600)


@pytest.mark.parametrize(
    "text", [None, 1, "", "Traceback", "{", "[" * 4096, '{"task":"plan"}', '{"task":"x","outcome":"y"}']
)
def test_what_is_no_report_is_none(text: object) -> None:
    """Anything may stand in a termination message."""
    assert parse(text) is None


def test_a_report_of_a_newer_process_is_read() -> None:
    """It may say more."""
    report = parse('{"task":"plan","outcome":"succeeded","pendingCount":2,"weather":"fine"}')

    assert report is not None
    assert report.count == 2


def test_waits_double_to_the_longest_and_are_spread_by_the_resource() -> None:
    """The same when asked again; a thousand failures are no longer than ten."""
    waits = [delay_seconds(_RETRY, number, "uid") for number in range(1, 1001)]

    assert waits == [delay_seconds(_RETRY, number, "uid") for number in range(1, 1001)]
    assert all(480 <= wait <= 600 for wait in waits[5:])
    assert len({delay_seconds(_RETRY, 9, str(uid)) for uid in range(50)}) > 20


def test_nothing_is_due_a_fraction_too_soon() -> None:
    """A status keeps whole seconds."""
    assert later(START + timedelta(milliseconds=1), 30) == START + timedelta(seconds=31)
    assert later(START, 30) == START + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"observedGeneration": 1}, "not looked at yet"),
        ({"updatedReplicas": 1}, "has 1 of 2 pods of its newest version"),
        ({"replicas": 3}, "still has pods of an older version"),
        ({"availableReplicas": 1}, "has 1 of 2 pods available"),
    ],
)
def test_a_rollout_that_goes_on_is_told(change: dict[str, int], says: str) -> None:
    """With the command that shows it."""
    world = World(new_resource())
    world.roll_out(generation=2)
    world.deployments[0]["status"] |= change
    found = rollout_of(world.resource, None, world.deployments)

    assert says in found.waiting
    assert found.waiting.endswith("see: kubectl -n shop rollout status deployment/api")


def test_a_deployment_without_pods_is_rolled_out() -> None:
    """Scaled to nothing, it runs no older version."""
    world = World(new_resource())
    world.roll_out()
    world.deployments[0]["spec"]["replicas"] = 0
    world.deployments[0]["status"] |= {"replicas": 0, "updatedReplicas": 0, "availableReplicas": 0}

    assert rollout_of(world.resource, None, world.deployments).waiting == ""


def test_a_deployment_that_is_named_must_exist() -> None:
    """Else a mistyped name would wait for nothing."""
    assert "deployment/web does not exist" in rollout_of(new_resource(), ("web",), []).waiting


@pytest.mark.parametrize("wait_for", [None, ("api",)])
@pytest.mark.parametrize(
    ("undone", "says"),
    [
        ({"version": "1.0"}, "was put back to version 1.0, not 2.0"),
        ({"migrations": "0" * 16}, "has pods that were rolled out with other migrations"),
        ({"migrations": None}, "has pods that were rolled out with other migrations"),
        ({"version": None, "migrations": None}, "has pods that were rolled out with other migrations"),
    ],
)
def test_an_undone_rollout_is_none(undone: dict[str, str | None], says: str, wait_for: tuple[str, ...] | None) -> None:
    """`kubectl rollout undo` leaves the Deployment's own labels, also of a build that has its version in common with another."""
    world = World(new_resource())
    world.resource["metadata"]["labels"]["app.kubernetes.io/version"] = "2.0"
    world.roll_out(version="2.0", is_marked=True)
    assert rollout_of(world.resource, wait_for, world.deployments).waiting == ""
    world.undo(**undone)
    waiting = rollout_of(world.resource, wait_for, world.deployments).waiting
    assert waiting.startswith(f"deployment/api {says}")
    assert waiting.endswith("; see: kubectl -n shop rollout history deployment/api")


def test_pods_may_say_it_alone() -> None:
    """Whoever labels only the pod template of a Deployment is understood, as long as the label is there."""
    world = World(new_resource())
    world.roll_out(is_marked=True)
    del world.deployments[0]["metadata"]["labels"]["ops.coursegen.dev/migrations"]
    assert rollout_of(world.resource, ("api",), world.deployments).waiting == ""
    world.undo(migrations="0" * 16)
    assert "other migrations" in rollout_of(world.resource, ("api",), world.deployments).waiting


def test_a_resource_that_was_changed_first_waits_for_its_deployments() -> None:
    """Another image of one version: theirs are the pods that were rolled out with the image before."""
    world = World(new_resource())
    world.roll_out(version="2.0", is_marked=True)
    before = migrations_label(world.resource)
    world.edit(image="shop:2")
    waiting = rollout_of(world.resource, None, world.deployments).waiting
    wanted = f"label ops.coursegen.dev/migrations is {before}, and must be {migrations_label(world.resource)}, for spec.image"
    assert f"{wanted}; roll out the release with this image; see: " in waiting
    world.undo(migrations=migrations_label(world.resource))
    assert wanted in rollout_of(world.resource, None, world.deployments).waiting


@pytest.mark.parametrize("version", ["", "2.0"])
def test_a_named_deployment_may_have_versions_of_its_own(version: str) -> None:
    """One of somebody else's that says another version than its pods do: its label `migrations` tells, where it has one."""
    world = World(new_resource())
    world.resource["metadata"]["labels"]["app.kubernetes.io/version"] = version
    world.roll_out(version="17.4", is_marked=True)
    world.undo(version="17.4.1-debian")
    assert rollout_of(world.resource, ("api",), world.deployments).waiting == ""
    assert "version 17.4" in rollout_of(world.resource, None, world.deployments).waiting
    world.undo(migrations="0" * 16)
    assert "other migrations" in rollout_of(world.resource, ("api",), world.deployments).waiting


@pytest.mark.parametrize("template", [{}, {"metadata": None}, {"metadata": {"labels": None}}, None])
def test_a_deployment_that_says_nothing_is_taken_at_its_word(template: Object | None) -> None:
    """One of somebody else's, which `waitFor` names."""
    world = World(new_resource())
    world.roll_out(version="2.0")
    world.deployments[0]["spec"]["template"] = template
    assert rollout_of(world.resource, ("api",), world.deployments).waiting == ""


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({}, "it has no label app.kubernetes.io/instance"),
        (
            {"app.kubernetes.io/instance": "shop"},
            "no Deployment has this resource's label app.kubernetes.io/instance=shop",
        ),
    ],
)
def test_a_release_without_deployments_is_not_rolled_out(labels: dict[str, str], says: str) -> None:
    """Older versions may run all the same; only a list that is empty says that there are none."""
    resource = new_resource()
    resource["metadata"]["labels"] = labels
    waiting = rollout_of(resource, None, []).waiting

    assert says in waiting
    assert "`kubectl -n shop get deployments`" in waiting
    assert waiting.endswith("in spec.contract.waitFor: kubectl -n shop edit dbm/main")
    assert rollout_of(resource, (), []).waiting == ""


class _Cluster:
    """Answers, and notes what it was asked for."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[tuple[str, dict[str, str] | str]] = []
        self._refuses = refuses

    async def get(self, resource_type: ResourceType, namespace: str, name: str) -> Object | None:
        """One, which does not exist."""
        self.asked.append((resource_type.kind, name))
        return None

    async def list(
        self, resource_type: ResourceType, namespace: str | None, *, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """None at all."""
        if self._refuses and resource_type.kind == "Deployment":
            raise NotPermitted("no, says RBAC; see: kubectl auth can-i")
        self.asked.append((resource_type.kind, dict(labels or {})))
        return []


async def _observe(cluster: _Cluster, **spec: Any) -> tuple[Object, Mapping[str, Any]]:
    resource = new_resource(policy={"destructive": "Allow"}, **spec)
    resource["status"] = {"contractPendingRevisions": ["20260103000000"]}
    return resource, await MigrationKind().observe(cluster, resource)


async def test_only_pods_are_read_while_no_contract_is_pending() -> None:
    """An idle resource costs one call."""
    cluster = _Cluster()
    await MigrationKind().observe(cluster, new_resource())

    assert [kind for kind, _ in cluster.asked] == ["Pod"]


async def test_the_deployments_of_the_release_are_read_for_the_contract_phase() -> None:
    """Or those that are named."""
    of_release, by_name = _Cluster(), _Cluster()
    await _observe(of_release)
    await _observe(by_name, contract={"waitFor": [{"name": "api"}]})

    assert of_release.asked[1] == ("Deployment", {"app.kubernetes.io/instance": "shop"})
    assert by_name.asked[1] == ("Deployment", "api")


async def test_deployments_that_may_not_be_seen_hold_the_contract_phase_back() -> None:
    """Not knowing is not rolled out."""
    resource, around = await _observe(_Cluster(refuses=True))
    world = World(resource, now=datetime.fromisoformat("2027-01-01T00:00:00Z"))
    resource["metadata"]["annotations"]["ops.coursegen.dev/backup"] = "dump"
    first = MigrationKind().plan(resource, Observed(world.now))
    resource["status"] = {
        "round": first.status["round"],
        "expandedAt": "2026-01-01T00:00:00Z",
        "contractPendingRevisions": ["20260103000000"],
        "contractPlanHash": "c",
    }
    resource["spec"]["drift"] = {"mode": "Off"}
    plan = MigrationKind().plan(resource, Observed(world.now, (), around))

    assert plan.children == ()
    pending = next(each for each in plan.status["conditions"] if each["type"] == "ContractPending")
    assert pending["message"] == "the operator may not see the Deployments: no, says RBAC; see: kubectl auth can-i"
