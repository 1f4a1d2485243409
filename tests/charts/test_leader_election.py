"""How the chart has its relays elect their leader: by a Lease, unless it is told otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from subprocess import CompletedProcess
from typing import Any

import jsonschema
import pytest
import yaml

from services.kernel.errors import SettingsInvalid
from services.outbox_relay.settings import RelaySettings
from tests.charts.conftest import CHART, Render
from tests.charts.objects import Object, of_kind, settings

RELAY = "cg-coursegen-outbox-relay"
NEEDED = {"DATABASE_URL": "postgresql://app@db/coursegen", "REDIS_URL": "redis://redis:6379/0"}
"""What comes out of Secrets."""


def relay(objects: list[Object]) -> Object:
    """The relay's pods."""
    pod: Object = of_kind(objects, "Deployment")[RELAY]["spec"]["template"]["spec"]
    return pod


def test_a_lease_is_the_default(render: Render) -> None:
    """It bears the Deployment's name, is in its namespace, and each pod asks for it under its own name."""
    objects = render("minimal")
    given = settings(objects, RELAY)

    assert (given["RELAY_ELECTION"], given["RELAY_LEASE_NAME"]) == ("lease", RELAY)
    assert (given["RELAY_LEASE_NAMESPACE"], given["RELAY_REPLICAS"]) == ("courses", "2")
    pod = relay(objects)
    assert pod["automountServiceAccountToken"] is True
    identity = next(each for each in pod["containers"][0]["env"] if each["name"] == "RELAY_NODE_ID")
    assert identity["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("mode", ["postgres", "none"])
def test_without_a_lease_there_are_no_rights_and_no_token(render: Render, mode: str) -> None:
    """Nor a name of a Lease, nor a way to the API server."""
    sets = [f"leaderElection.mode={mode}", "outboxRelay.replicaCount=1", "networkPolicy.enabled=true"]
    objects = render("minimal", *sets)

    assert relay(objects)["automountServiceAccountToken"] is False
    assert not [each["kind"] for each in objects if each["metadata"]["name"] == RELAY and "Role" in each["kind"]]
    assert not [each for each in settings(objects, RELAY) if each.startswith("RELAY_LEASE")]
    ports = [
        port["port"] for rule in of_kind(objects, "NetworkPolicy")[RELAY]["spec"]["egress"] for port in rule["ports"]
    ]
    assert 6443 not in ports


def test_the_api_server_is_open_to_the_relay_alone(render: Render) -> None:
    """With a Lease, and to no other pod but the test that reads the operator's resources."""
    policies = of_kind(render("minimal", "networkPolicy.enabled=true"), "NetworkPolicy")
    reached = {
        name
        for name, each in policies.items()
        if 6443 in [port["port"] for rule in each["spec"]["egress"] for port in rule["ports"]]
    }

    assert reached == {RELAY, "cg-coursegen-test-resources"}


@pytest.mark.parametrize(("mode", "strategy"), [("none", "Recreate"), ("postgres", "RollingUpdate")])
def test_a_relay_without_election_is_never_two(render: Render, mode: str, strategy: str) -> None:
    """Not even while it is updated: the old pod ends before the new one begins."""
    objects = render("minimal", f"leaderElection.mode={mode}", "outboxRelay.replicaCount=1")

    assert of_kind(objects, "Deployment")[RELAY]["spec"]["strategy"]["type"] == strategy


@pytest.mark.parametrize(("mode", "replicas", "fits"), [("none", 2, False), ("none", 1, True), ("lease", 2, True)])
def test_the_schema_alone_refuses_several_relays_without_an_election(mode: str, replicas: int, fits: bool) -> None:
    """Whoever checks values without rendering them hears of it too."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    values["leaderElection"]["mode"] = mode
    values["outboxRelay"]["replicaCount"] = replicas
    faults = list(jsonschema.Draft7Validator(schema).iter_errors(values))

    assert [list(each.absolute_path) for each in faults] == ([] if fits else [["outboxRelay", "replicaCount"]])


def test_the_timers_are_settings_of_the_relay(render: Render) -> None:
    """What `config.relay` says is what the process reads, and what its own defaults are without."""
    usual = RelaySettings.from_environ({**settings(render("minimal"), RELAY), **NEEDED}).timers
    quicker = RelaySettings.from_environ({**settings(render("ha"), RELAY), **NEEDED}).timers

    assert (usual.lease_seconds, usual.renew_seconds, usual.retry_seconds) == (15, 10, 2)
    assert (quicker.lease_seconds, quicker.renew_seconds, quicker.retry_seconds) == (9, 6.5, 1)


@pytest.mark.parametrize(
    ("timers", "wrong"),
    [
        ({"RELAY_LEASE_SECONDS": "5"}, "RELAY_LEASE_SECONDS"),
        ({"RELAY_LEASE_SECONDS": "10"}, "RELAY_LEASE_SECONDS"),
        ({"RELAY_LEASE_SECONDS": "11"}, ""),
        ({"RELAY_LEASE_SECONDS": ""}, ""),
        ({"RELAY_LEASE_RENEW_SECONDS": "15"}, "RELAY_LEASE_SECONDS"),
        ({"RELAY_LEASE_RENEW_SECONDS": "14.9"}, ""),
        ({"RELAY_LEASE_RENEW_SECONDS": "2.4"}, "RELAY_LEASE_RENEW_SECONDS"),
        ({"RELAY_LEASE_RENEW_SECONDS": "2.5"}, ""),
        ({"RELAY_LEASE_RETRY_SECONDS": "9"}, "RELAY_LEASE_RENEW_SECONDS"),
        ({"RELAY_LEASE_SECONDS": "5", "RELAY_LEASE_RENEW_SECONDS": "3"}, ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["lease", "postgres"])
def test_timers_that_the_relay_does_not_take_are_refused(
    attempt: Callable[..., CompletedProcess[str]], mode: str, timers: dict[str, str], wrong: str
) -> None:
    """Before a pod ends over them, by the setting's name, and only what the process itself refuses."""
    done = attempt(
        "minimal", f"leaderElection.mode={mode}", *(f"config.relay.{each}" for each in map("=".join, timers.items()))
    )

    with pytest.raises(SettingsInvalid, match=f"{wrong}: must be more than") if wrong else nullcontext():
        RelaySettings.from_environ({**NEEDED, **timers})
    if wrong:
        assert done.returncode != 0
        assert f"config.relay.{wrong}: " in done.stderr
        assert "must be more than" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
