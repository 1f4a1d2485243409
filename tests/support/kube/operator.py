"""The operator installed by its chart, and its resources as an administrator would look at them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.kube.commands import CommandFailed, Object, get, items, kubectl, program, run, warnings_in
from tests.support.kube.installation import is_ready, own_namespace
from tests.support.kube.signals import send
from tests.support.kube.values import Values, for_cluster, merged
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

OPERATOR_CHART = REPOSITORY / "charts" / "coursegen-operator"
RELEASE = "coursegen-operator"
KINDS = ("databasemigrations", "retentionpolicies", "alertpolicies")
GROUP = "ops.coursegen.dev"
PROCESS = "operators.coursegen_operator"
"""The module that its pods run."""
INSTALL_SECONDS = 180.0
_ASK = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 9090, timeout=10)
connection.request("GET", sys.argv[1])
print(connection.getresponse().read().decode())
"""


class OperatorRelease:
    """One release of the operator's chart."""

    def __init__(self, namespace: str, *, helm: str = "helm") -> None:
        self.namespace = namespace
        self._helm = program(helm)

    def install(self, *layers: Values, flags: Sequence[str] = ()) -> str:
        """`helm upgrade --install --wait` with the image of the cluster under test; what helm said."""
        return self.helm("upgrade", "--install", RELEASE, str(OPERATOR_CHART), "--wait", f"--timeout={INSTALL_SECONDS:g}s",
                         *flags, "-f", "-", stdin=json.dumps(merged(operator_values(), *layers)))  # fmt: skip

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        """What `helm ARGUMENTS` prints in its namespace, warnings included."""
        done = run([self._helm, *arguments, "-n", self.namespace], stdin=stdin, seconds=INSTALL_SECONDS + 60)
        return done.stdout + done.stderr

    def uninstall(self) -> None:
        """`helm uninstall`: the kinds stay."""
        self.helm("uninstall", RELEASE, "--wait", "--ignore-not-found")

    def pods(self) -> list[Object]:
        """Its ready pods that are not being deleted."""
        found = self.pods_of_any_state()
        return [each for each in found if "deletionTimestamp" not in each["metadata"] and is_ready(each)]

    def lease(self) -> Object:
        """What its Lease says; empty when there is none."""
        leases = items("-n", self.namespace, "leases", f"--field-selector=metadata.name={RELEASE}")
        return leases[0]["spec"] if leases else {}

    def leader(self) -> str:
        """The pod that holds the Lease; empty when nobody does."""
        return str(self.lease().get("holderIdentity") or "").rpartition("_")[0]

    def signal_leader(self, name: str) -> tuple[str, float]:
        """Send its leader a signal (`signals.stand_beside` comes first); its holder identity, and when it was sent."""
        leader: str = eventually_sync(self.leader, within=60, every=0.5)
        holder = str(self.lease()["holderIdentity"])
        return holder, send(self.namespace, leader, PROCESS, name)

    def readiness(self, pod: str) -> Object:
        """What a pod's /readyz answers."""
        found: Object = json.loads(self._asked(pod, "/readyz"))
        return found

    def figure(self, pod: str, name: str, *, absent: float = 0.0) -> float:
        """The sum of a metric's samples by a pod's /metrics; `absent` when it has none."""
        lines = [line for line in self._asked(pod, "/metrics").splitlines() if re.match(rf"{name}[ {{]", line)]
        return sum(float(line.rpartition(" ")[2]) for line in lines) if lines else absent

    def restarts(self) -> dict[str, int]:
        """How often the operator was started anew in each of its pods."""
        return {name: status["restartCount"] for name, status in self._containers().items()}

    def last_end(self, pod: str) -> Object:
        """How the operator ended in a pod in which it was started anew; empty when it was not."""
        return dict(self._containers()[pod].get("lastState", {}).get("terminated") or {})

    def pods_of_any_state(self) -> list[Object]:
        """Its pods, those that are not ready or are being deleted, too."""
        return items("-n", self.namespace, "pods", "-l", f"app.kubernetes.io/instance={RELEASE}")

    def _containers(self) -> dict[str, Object]:
        return {
            each["metadata"]["name"]: status
            for each in self.pods_of_any_state()
            for status in each["status"].get("containerStatuses", ())
            if status["name"] == "operator"
        }

    def _asked(self, pod: str, path: str) -> str:
        command = ["exec", pod, "-c", "operator", "--", "python", "-c", _ASK, path]
        return kubectl("-n", self.namespace, *command)

    def logs(self) -> str:
        """What its pods have logged."""
        selector = f"app.kubernetes.io/instance={RELEASE}"
        return kubectl("-n", self.namespace, "logs", "-l", selector, "--tail=-1", "--prefix")

    def remove_kinds(self) -> None:
        """Take the kinds away, and every resource of theirs."""
        kubectl("delete", "crd", *(f"{each}.{GROUP}" for each in KINDS), "--ignore-not-found", "--timeout=60s")


def operator_values() -> Values:
    """Where the operator's image is on the cluster under test, small pods, and no path that it does not need."""
    named = for_cluster()["image"]
    return {
        "image": {
            "registry": named["registry"],
            "repository": f"{named['repositoryPrefix']}operator",
            "tag": named["tag"],
        },
        "resources": {"requests": {"cpu": "5m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
    }


def kinds_there() -> list[str]:
    """The definitions that the API server has."""
    return [name for name in KINDS if f"{name}." in kubectl("get", "crd", "-o", "name")]


def await_established(*names: str) -> None:
    """Return when the API server answers for these definitions; one that has no conditions yet is waited for as well."""

    def are_established() -> bool:
        conditions = [get("crd", name).get("status", {}).get("conditions") or [] for name in names]
        return all(any(each["type"] == "Established" and each["status"] == "True" for each in of) for of in conditions)

    eventually_sync(are_established, within=60, every=0.5)


@contextmanager
def operator_installed(*layers: Values) -> Iterator[OperatorRelease]:
    """The operator and its kinds while the block lasts, in a namespace of its own."""
    with own_namespace("operator") as namespace, removed_operator(namespace):
        release = OperatorRelease(namespace)
        try:
            assert warnings_in(release.install(*layers)) == []
            yield release
        except CommandFailed as failure:
            raise CommandFailed(f"{failure}\n{_story(namespace)}") from failure


@contextmanager
def removed_operator(namespace: str) -> Iterator[None]:
    """Whatever the block installs of the operator in a namespace is taken away at its end, with its kinds."""
    try:
        yield
    finally:
        release = OperatorRelease(namespace)
        release.uninstall()
        release.remove_kinds()
        kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def _story(namespace: str) -> str:
    pods = ["-l", f"app.kubernetes.io/instance={RELEASE}"]
    shown = (["get", "pods", "-o", "wide"], ["events"], ["logs", *pods, "--tail=60"])
    said = [run(["kubectl", "-n", namespace, *each], check=False) for each in shown]
    return "\n".join((each.stdout + each.stderr)[-6000:] for each in said)


def condition(resource: Object, name: str) -> dict[str, Any]:
    """One of its conditions; empty when it has none of the name."""
    found = [each for each in resource.get("status", {}).get("conditions", ()) if each["type"] == name]
    return found[0] if found else {}


def reads(namespace: str, kind: str, name: str) -> Object:
    """A resource as it is now."""
    return get("-n", namespace, kind, name)


def await_condition(
    namespace: str, kind: str, name: str, wanted: str, *, reason: str = "", within: float = 120
) -> Object:
    """The resource, once the condition is True, by `reason` if one is given, for its present generation.

    Raises:
        AssertionError: it took too long; shows its conditions.
    """

    def holds() -> Object:
        found = reads(namespace, kind, name)
        status = found.get("status", {})
        shown = [
            {key: each[key] for key in ("type", "status", "reason", "message")} for each in status.get("conditions", ())
        ]
        seen = condition(found, wanted)
        assert seen.get("status") == "True", shown
        assert not reason or seen["reason"] == reason, shown
        assert status["observedGeneration"] == found["metadata"]["generation"], shown
        return found

    found: Object = eventually_sync(holds, within=within, every=0.5)
    return found


def table(*arguments: str) -> list[list[str]]:
    """The rows of a `kubectl get`, the header first, split where two spaces or more are."""
    lines = kubectl("get", *arguments).splitlines()
    return [[word for word in line.split("  ") if word.strip()] for line in lines]


def names(found: Sequence[Object]) -> set[str]:
    """What objects are called."""
    return {each["metadata"]["name"] for each in found}
