"""scripts/verify-deployment.sh on a real cluster, with kubectl alone: it sees everything, and the broken part is the red one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.cli.verification.checks import NAMES
from tests.support.breaking import BREAKAGES, REFUSED_INITIATIONS, REFUSED_LOGIN
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation, port_forward
from tests.support.kube.verification import SCRIPT, checks, red
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(2), pytest.mark.timeout(900)]


def test_it_sees_all_of_a_release(whole: Installation) -> None:
    """Ten checks, none red, none unseen; whatever the release is called."""
    found = checks(whole, "--release", whole.release)

    assert tuple(found) == NAMES
    assert {name: each["problems"] for name, each in found.items() if each["status"] == "fail"} == {}
    assert [each["problems"] for each in found.values() if "not seen" in str(each["problems"])] == []
    assert found["Outbox"]["values"]["leader"].startswith(f"{whole.fullname}-outbox-relay-")


@contextmanager
def _without(installation: Installation, component: str) -> Iterator[None]:
    """No pod of a component, for a while."""
    name = f"deployment/{installation.fullname}-{component}"
    replicas = installation.get(name)["spec"]["replicas"]
    installation.kubectl("scale", name, "--replicas=0")
    try:
        pods = f"{installation.selector},app.kubernetes.io/component={component}"
        installation.kubectl("wait", "pod", "-l", pods, "--for=delete", "--timeout=90s")
        yield
    finally:
        installation.kubectl("scale", name, f"--replicas={replicas}")
        installation.rolled_out(component)


def _only_red(installation: Installation, name: str) -> dict[str, Any]:
    """What the script says of this check, once it is the one that fails."""
    found = checks(installation)
    assert [each for each, said in found.items() if said["status"] == "fail"] == [name], found
    return found[name]


@pytest.mark.parametrize(("component", "check"), [("outbox-relay", "Outbox"), ("api", "API"), ("redis", "Redis")])
def test_a_part_without_pods_is_the_red_one(whole: Installation, component: str, check: str) -> None:
    """It alone, with a command for kubectl that can be run as it stands; with its pods again, nothing is red."""
    with _without(whole, component):
        command = eventually_sync(lambda: _only_red(whole, check), within=60, every=1)["next"]
        assert command.startswith(f"kubectl -n {whole.namespace} ")
        assert run(["sh", "-c", command], check=False).returncode == 0

    assert eventually_sync(lambda: not red(whole), within=120, every=1)


def test_what_statements_break_is_the_red_one(whole: Installation) -> None:
    """Each in turn, it alone; a login that is refused is seen by who signs in anew, initiations that fail by who asks for one."""
    for name, (breaking, mending) in {**BREAKAGES, "Database": REFUSED_LOGIN}.items():
        try:
            whole.sql(breaking)
            eventually_sync(lambda name=name: _only_red(whole, name), within=20, every=1)
        finally:
            whole.sql(mending)
    breaking, mending = REFUSED_INITIATIONS
    try:
        whole.sql(breaking)
        body = {"courseId": str(uuid4()), "title": "Verified", "hasFiles": False}
        with port_forward(whole, f"service/{whole.fullname}-api", 3000) as url:
            headers = {"Authorization": f"Bearer {whole.token()}"}
            answer = httpx.post(f"{url}/api/trpc/generation.initiate", json=body, headers=headers, timeout=30)
        assert answer.status_code == 500
        eventually_sync(lambda: _only_red(whole, "FSM"), within=20, every=1)
    finally:
        whole.sql(mending)

    assert red(whole) == []


def test_a_namespace_without_a_release_is_a_wrong_call(shared: Installation) -> None:
    """Exit code 64, and nothing on standard output."""
    del shared
    done = run([SCRIPT, "--namespace", "kube-public"], check=False)

    assert (done.returncode, done.stdout) == (64, "")
    assert "no coursegen in namespace kube-public" in done.stderr
