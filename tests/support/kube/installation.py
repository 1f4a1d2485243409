"""coursegen installed by its chart in a namespace of a test's own."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import jwt as pyjwt

from tests.support import tokens
from tests.support.kube.clients import Client
from tests.support.kube.commands import CommandFailed, Object, get, items, kubectl, program, run
from tests.support.kube.values import CHART, Values, for_cluster
from tests.support.waiting import eventually_sync

INSTALL_SECONDS = 420.0
RESTRICTED = "pod-security.kubernetes.io"


@contextmanager
def own_namespace(prefix: str) -> Iterator[str]:
    """A new namespace, in which only pods of the restricted standard may run; deleted when the block ends."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    levels = [f"{RESTRICTED}/{each}=restricted" for each in ("enforce", "warn", "audit")]
    kubectl("label", "namespace", name, *levels)
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


class Installation:
    """One release of the chart; what it is asked for is done with kubectl and helm."""

    def __init__(
        self, namespace: str, values: Values, *, release: str = "cg", helm: str = "helm", chart: Path = CHART
    ) -> None:
        """`values` come on top of the small ones and the cluster's."""
        self.namespace = namespace
        self.release = release
        self.chart = chart
        self.values = values
        self._helm = program(helm)

    @property
    def fullname(self) -> str:
        """What the names of its objects begin with."""
        return self.release if "coursegen" in self.release else f"{self.release}-coursegen"

    def helm(self, *arguments: str, stdin: str | None = None, seconds: float = INSTALL_SECONDS) -> str:
        """What `helm ARGUMENTS` prints, warnings included.

        Raises:
            CommandFailed: it ended with an error.
        """
        done = run([self._helm, *arguments, "-n", self.namespace], stdin=stdin, seconds=seconds)
        return done.stdout + done.stderr

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
        """`kubectl` in its namespace."""
        return kubectl("-n", self.namespace, *arguments, stdin=stdin, seconds=seconds)

    def get(self, *arguments: str) -> Object:
        """One object of its namespace, as data."""
        return get("-n", self.namespace, *arguments)

    def items(self, *arguments: str) -> list[Object]:
        """Objects of its namespace, as data."""
        return items("-n", self.namespace, *arguments)

    def install(
        self, *further: Values, chart: Path | None = None, unknown: Container[str] = (), flags: tuple[str, ...] = ()
    ) -> str:
        """`helm upgrade --install`; what helm said. Nothing is waited for but what `flags` ask for.

        Args:
            further: values that win over those of the installation.
            chart: another than the installation's.
            unknown: groups of values that this chart has not heard of.
            flags: of Helm.
        """
        values = for_cluster(self.values, *further)
        told = json.dumps({name: value for name, value in values.items() if name not in unknown})
        return self.helm("upgrade", "--install", self.release, str(chart or self.chart), "-f", "-", *flags, stdin=told)

    def wait_ready(self, *, seconds: float = INSTALL_SECONDS) -> None:
        """Return when the schema is there and every Deployment is rolled out.

        Raises:
            CommandFailed: it took too long; shows the pods.
        """
        try:
            self.kubectl("wait", "job", "-l", f"{self.selector},app.kubernetes.io/component=migrate",
                         "--for=condition=Complete", f"--timeout={seconds:g}s", seconds=seconds + 10)  # fmt: skip
            self._await_rollouts(self.deployments(), seconds)
        except CommandFailed as failure:
            raise CommandFailed(f"{failure}\n{self.story()}") from failure

    def deployments(self) -> list[str]:
        """Names of its Deployments."""
        return [each["metadata"]["name"] for each in self.items("deployments")]

    def pods(self, component: str, *, running: bool = True) -> list[Object]:
        """The pods of a component that are not being deleted; by default only the ready ones."""
        labels = f"{self.selector},app.kubernetes.io/component={component}"
        found = [each for each in self.items("pods", "-l", labels) if "deletionTimestamp" not in each["metadata"]]
        return [each for each in found if is_ready(each)] if running else found

    def processes(self) -> list[str]:
        """The components that are processes of ours: "api", "outbox-relay", "worker-analysis"…"""
        names = [name.removeprefix(f"{self.fullname}-") for name in self.deployments()]
        return [name for name in names if name != "redis"]

    @property
    def selector(self) -> str:
        """The label that all its objects bear."""
        return f"app.kubernetes.io/instance={self.release}"

    def pod_names(self, component: str) -> set[str]:
        """Names of the pods of a component that are not being deleted."""
        return {each["metadata"]["name"] for each in self.pods(component, running=False)}

    def restarts(self) -> dict[str, int]:
        """How often containers were started anew, by pod; only those that were."""
        counted = {
            each["metadata"]["name"]: sum(
                status["restartCount"] for status in each["status"].get("containerStatuses", ())
            )
            for each in self.items("pods")
        }
        return {name: count for name, count in counted.items() if count}

    def rolled_out(self, *names: str, seconds: float = 180) -> None:
        """Return when the Deployments of these components are rolled out."""
        self._await_rollouts([f"{self.fullname}-{name}" for name in names], seconds)

    def _await_rollouts(self, deployments: Sequence[str], seconds: float) -> None:
        for name in deployments:
            limit = f"--timeout={seconds:g}s"
            self.kubectl("rollout", "status", f"deployment/{name}", limit, seconds=seconds + 10)

    def secret(self, key: str) -> str:
        """A value of the Secret that `dev.enabled` has made."""
        data = self.get("secret", f"{self.fullname}-dev")["data"]
        return base64.b64decode(data[key]).decode()

    def token(
        self,
        user: UUID = tokens.USER,
        *,
        tier: str = "PREMIUM",
        role: str | None = None,
        organization: UUID = tokens.ORGANIZATION,
    ) -> str:
        """A token that its api takes."""
        claims = tokens.claims(user, organization, tier=tier, role=role)
        return pyjwt.encode(claims, self.secret("jwt-secret"), algorithm="HS256")

    def sql(self, query: str) -> str:
        """What psql prints for a query, as the owner: rows as lines, columns between |."""
        pod = f"{self.fullname}-postgresql-0"
        return self.kubectl("exec", "-i", pod, "-c", "postgresql", "--", "psql", "-U", "postgres", "-d", "coursegen",
                            "-qAtX", "-v", "ON_ERROR_STOP=1", stdin=query).strip()  # fmt: skip

    def redis(self, *command: str) -> str:
        """What Redis answers to a command: values as lines."""
        deployment = f"deployment/{self.fullname}-redis"
        return self.kubectl("exec", deployment, "-c", "redis", "--", "redis-cli", "--raw", *command).strip()

    @property
    def url(self) -> str:
        """Where its api answers to pods of its namespace."""
        return f"http://{self.fullname}-api:3000"

    def story(self) -> str:
        """Pods, Jobs and the last events: what one looks at first."""
        shown = [self.kubectl("get", "pods,jobs", "-o", "wide"), self.kubectl("events")]
        for each in self.items("pods"):
            if not is_ready(each) and each["status"]["phase"] not in {"Succeeded", "Pending"}:
                name = each["metadata"]["name"]
                shown.append(f"{name}:\n" + self.kubectl("logs", name, "--all-containers", "--tail=30"))
        return "\n".join(text[-6000:] for text in shown)

    def uninstall(self) -> str:
        """`helm uninstall`."""
        return self.helm("uninstall", self.release, "--wait")


@contextmanager
def port_forward(where: Installation | Client, target: str, port: int) -> Iterator[str]:
    """The URL at which a Service or pod of the namespace answers from here, while the block lasts."""
    command = ["kubectl", "-n", where.namespace, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as forwarding:
        try:
            assert forwarding.stdout is not None
            said = forwarding.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 3000
            assert "->" in said, f"{' '.join(command)}: {forwarding.stderr.read() if forwarding.stderr else said}"
            yield f"http://127.0.0.1:{said.split('->')[0].strip().rpartition(':')[2]}"
        finally:
            forwarding.terminate()


def is_ready(pod: Object) -> bool:
    """Whether the kubelet says that the pod is ready."""
    return _holds(pod, "Ready")


def is_available(deployment: Object) -> bool:
    """Whether the controller says that the Deployment is available."""
    return _holds(deployment, "Available")


def _holds(object_: Object, condition: str) -> bool:
    conditions = object_["status"].get("conditions", ())
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def eventually_gone(namespace: str, *, within: float = 120) -> None:
    """Return when the namespace is gone."""
    eventually_sync(
        lambda: not run(["kubectl", "get", "namespace", namespace], check=False).stdout, within=within, every=0.5
    )
