"""Uninstalled in any order: nothing stays Terminating, and what belonged to a resource goes with it.

The last module of its folder: it takes away, in the end, what the others share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.operator.conftest import OPERATED
from tests.support.kube.commands import Object, items, kubectl
from tests.support.kube.installation import Installation, eventually_gone, own_namespace
from tests.support.kube.operator import KINDS, OperatorRelease, await_condition, condition, kinds_there, reads
from tests.support.kube.page import shell_for
from tests.support.kube.remains import terminating
from tests.support.marked import DOCS, marked
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(2), pytest.mark.timeout(600)]

GONE_SECONDS = 60.0
MISSED_SECONDS = 30.0
AWAY_SECONDS = 16.0
CALLS_A_MINUTE = 80
"""Asking every fifteen seconds whether the kinds are back, and what else there is."""
_AT_WORK = ["python", "-c", "import signal; signal.sigwait({signal.SIGTERM})"]
"""What a Job runs that has no end before it is told to stop."""
_CHILDREN = "cronjobs,jobs"
_MANAGED = "app.kubernetes.io/managed-by=coursegen-operator"


@pytest.fixture(scope="module")
def going(operator: OperatorRelease) -> Iterator[Installation]:
    """An application that nobody waits for."""
    assert operator.pods()
    with own_namespace("going") as namespace:
        yield Installation(namespace, OPERATED)


def children(namespace: str) -> list[str]:
    """What the operator has made in a namespace."""
    return [each["metadata"]["name"] for each in items("-n", namespace, _CHILDREN, "-l", _MANAGED)]


def nothing_hangs(namespace: str) -> None:
    """Return when nothing in the namespace is Terminating."""
    eventually_sync(lambda: not terminating(namespace), within=GONE_SECONDS, every=1)


def taken_over(operated: Installation, namespace: str, kind: str, name: str, **spec: object) -> str:
    """A resource as one of the application's, for another namespace, whose pods need nothing but what is there."""
    found = operated.get(kind, name)
    kept = {key: value for key, value in found["spec"].items() if key not in {"job", "imagePullSecrets"}}
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {**{each: found[each] for each in ("apiVersion", "kind")}, "metadata": metadata, "spec": {**kept, **spec}}
    )


def test_a_namespace_goes_while_the_operator_works_in_it(operator: OperatorRelease, operated: Installation) -> None:
    """All three kinds, and a Job at work: nothing stays Terminating; the operator makes nothing anew, and goes on elsewhere."""
    leader, restarts = operator.leader(), operator.restarts()
    with own_namespace("leaving") as namespace:
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "database", "namespace": namespace},
        }
        kubectl(
            "apply", "-f", "-", stdin=json.dumps({**secret, "stringData": {"url": "postgresql://nobody@127.0.0.1:1/x"}})
        )
        refers = {"databaseSecretRef": {"name": "database", "key": "url"}}
        for manifest in (
            taken_over(operated, namespace, "rtp", "outbox", **refers),
            taken_over(operated, namespace, "alp", "platform"),
            taken_over(operated, namespace, "dbm", "main", **refers, command=_AT_WORK),
        ):
            kubectl("apply", "-f", "-", stdin=manifest)
        for kind, name in (("rtp", "outbox"), ("alp", "platform")):
            await_condition(namespace, kind, name, "Ready")

        def is_at_work() -> bool:
            found = reads(namespace, "dbm", "main")
            assert condition(found, "Reconciling").get("status") == "True", found.get("status")
            pods = items("-n", namespace, "pods", "-l", f"ops.coursegen.dev/task=plan,{_MANAGED}")
            return [each["status"]["phase"] for each in pods] == ["Running"]

        eventually_sync(is_at_work, within=90, every=0.5)

        kubectl("delete", "namespace", namespace, "--wait=false")

        eventually_gone(namespace, within=GONE_SECONDS)
    assert (operator.leader(), operator.restarts()) == (leader, restarts)
    assert "for a defect" not in operator.logs()
    operated.kubectl("annotate", "rtp/outbox", f"ops.coursegen.dev/reconcile-at={namespace}", "--overwrite")
    eventually_sync(
        lambda: operated.get("rtp", "outbox")["status"].get("lastHandledReconcileAt") == namespace,
        within=MISSED_SECONDS,
        every=0.5,
    )


def test_kinds_that_are_deleted_are_missed_and_taken_up_again(
    operator: OperatorRelease, operated: Installation, tmp_path: Path
) -> None:
    """Told by /readyz and by the log, with the command that brings them back, as the page has it; no restart, no hot loop."""
    namespace, leader, restarts = operated.namespace, operator.leader(), operator.restarts()
    operator.remove_kinds()

    def missed() -> str:
        fault = str(operator.readiness(leader)["faults"].get("cluster"))
        assert "DatabaseMigration, RetentionPolicy, AlertPolicy are not installed" in fault
        return fault

    fault = eventually_sync(missed, within=MISSED_SECONDS, every=1)
    eventually_sync(lambda: not children(namespace), within=GONE_SECONDS, every=1)
    before, began = operator.figure(leader, "coursegen_operator_api_calls_total"), time.monotonic()
    time.sleep(AWAY_SECONDS)  # what it does meanwhile is what is measured
    calls = operator.figure(leader, "coursegen_operator_api_calls_total") - before
    a_minute = calls * 60 / (time.monotonic() - began)
    print(f"without its kinds it asks the API server {a_minute:.0f} times a minute")
    assert a_minute <= CALLS_A_MINUTE
    assert operator.figure(leader, "coursegen_operator_resource_condition", absent=-1.0) == -1.0
    assert (operator.leader(), operator.restarts()) == (leader, restarts)
    assert "are not installed" in kubectl("-n", operator.namespace, "logs", leader, "-c", "operator", "--tail=100")

    block = marked(DOCS / "OPERATOR.md", "operator-kinds-back")
    assert fault.split("`")[1] in block
    done = shell_for(operated, tmp_path)(block)
    assert done.returncode == 0, done.stdout + done.stderr

    eventually_sync(lambda: operator.readiness(leader)["ready"], within=MISSED_SECONDS, every=1)
    for kind, name in (("rtp", "outbox"), ("alp", "platform"), ("dbm", "main")):
        await_condition(namespace, kind, name, "Ready", within=90)
    assert (operator.leader(), operator.restarts()) == (leader, restarts)
    assert "for a defect" not in operator.logs()
    nothing_hangs(namespace)


def test_the_operator_goes_first(operator: OperatorRelease, going: Installation, operated: Installation) -> None:
    """The kinds and their resources stay; the application goes with its children all the same; nothing hangs."""
    namespace = going.namespace
    going.install()
    await_condition(namespace, "rtp", "outbox", "Ready")
    kept = {each["metadata"]["uid"] for each in items("-n", operated.namespace, "coursegen,cronjobs")}

    operator.uninstall()

    eventually_sync(lambda: not operator.pods_of_any_state(), within=GONE_SECONDS, every=0.5)
    assert kinds_there() == list(KINDS)
    assert len(items("-n", namespace, "coursegen")) == 5
    going.helm("uninstall", going.release)
    eventually_sync(lambda: not items("-n", namespace, f"coursegen,{_CHILDREN}"), within=GONE_SECONDS, every=0.5)
    nothing_hangs(namespace)
    kubectl("delete", "namespace", namespace, "--wait=false")
    eventually_gone(namespace, within=GONE_SECONDS)
    assert {each["metadata"]["uid"] for each in items("-n", operated.namespace, "coursegen,cronjobs")} == kept


def test_the_application_goes_first_and_the_kinds_last(operator: OperatorRelease, operated: Installation) -> None:
    """Installed anew the operator takes up what it had made; with `crds.keep=false` the kinds go with it."""
    namespace = operated.namespace
    made = children(namespace)
    operator.install({"crds": {"keep": False}}, flags=("--take-ownership",))
    await_condition(namespace, "rtp", "outbox", "Ready")
    assert set(made) <= set(children(namespace))
    stray = operated.get("rtp", "outbox")
    stray["metadata"] = {"name": "stray", "namespace": namespace}
    kubectl("apply", "-f", "-", stdin=json.dumps(stray))
    await_condition(namespace, "rtp", "stray", "Ready")

    operated.helm("uninstall", operated.release)

    eventually_sync(lambda: children(namespace) == ["stray-retention"], within=GONE_SECONDS, every=0.5)
    operator.uninstall()
    eventually_sync(lambda: not kinds_there(), within=GONE_SECONDS, every=0.5)
    eventually_sync(lambda: not children(namespace), within=GONE_SECONDS, every=0.5)
    nothing_hangs(namespace)
    nothing_hangs(operator.namespace)
    kubectl("delete", "namespace", namespace, operator.namespace, "--wait=false")
    for each in (namespace, operator.namespace):
        eventually_gone(each, within=GONE_SECONDS)
