"""Running pods as the kernel sees them: who they are, what they may write, and that no secret shows from outside (S9, S12)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.kube.clients import client_pod
from tests.support.kube.commands import Object, kubectl
from tests.support.kube.installation import Installation

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

DEV_SERVERS = {"postgresql", "redis"}
"""Official images, which run as user 999; charts/coursegen/README.md says so."""
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_LOOK_PYTHON = f"""
import os, pathlib
for path in ("/proc/1/status", "/proc/1/mounts"):
    print(pathlib.Path(path).read_text())
print("token", os.path.exists({_TOKEN!r}))
for folder in ("/", "/app", "/usr/local", "/tmp"):
    try:
        pathlib.Path(folder, "written").write_text("x")
        print("wrote", folder)
    except OSError:
        pass
"""
_LOOK_SHELL = f"""
for process in /proc/[0-9]*; do
    case "$(head -n 1 $process/status 2>/dev/null)" in
        *postgres*|*redis-server*) cat $process/status $process/mounts; break ;;
    esac
done
if [ -e {_TOKEN} ]; then echo token True; else echo token False; fi
for folder in / /usr/local /etc; do
    if touch $folder/written 2>/dev/null; then echo wrote $folder; fi
done
true
"""
_ARGUMENTS_PYTHON = """
import pathlib, urllib.request
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        print(path.read_bytes().replace(b"\\0", b" ").decode(errors="replace"))
    except OSError:
        pass
print(urllib.request.urlopen("http://127.0.0.1:9090/metrics", timeout=10).read().decode())
"""
_ARGUMENTS_SHELL = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
_REQUESTS = """
import os, httpx
token = os.environ["API_TOKEN"]
with httpx.Client(base_url=os.environ["API_URL"], timeout=30) as client:
    answers = [
        client.post("/api/trpc/generation.initiate", headers={"Authorization": f"Bearer {token}"},
                    json={"courseId": os.environ["COURSE"], "title": "Where secrets do not go", "hasFiles": False}),
        client.post("/api/trpc/generation.initiate", headers={"Authorization": f"Bearer {token}x"}, json={}),
        client.get("/api/courses", params={"token": token}),
        client.get("/api/courses/none", headers={"Authorization": f"Bearer {token}"}),
        client.post("/api/courses", content=b'{"title":',
                    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"}),
    ]
print(*(each.status_code for each in answers))
"""


@dataclass(frozen=True)
class Seen:
    """What a pod's process is, from its own /proc."""

    component: str
    text: str

    def field(self, name: str) -> str:
        """A line of its status."""
        found = re.search(rf"^{name}:\s*(.*)$", self.text, re.MULTILINE)
        assert found, f"{self.component}: {name} is not in its status"
        return found[1]

    @property
    def ids(self) -> set[int]:
        """Its user and group ids: real, effective, saved, of the file system."""
        return {int(each) for name in ("Uid", "Gid") for each in self.field(name).split()}

    @property
    def root_options(self) -> list[str]:
        """How its / is mounted."""
        root = next(line for line in self.text.splitlines() if len(line.split()) == 6 and line.split()[1] == "/")
        return root.split()[3].split(",")

    @property
    def written(self) -> set[str]:
        """Where a file could be made."""
        return set(re.findall(r"^wrote (\S+)$", self.text, re.MULTILINE))

    @property
    def has_token(self) -> bool:
        """Whether it could speak to the API server."""
        return "token True" in self.text.splitlines()


def component_of(pod: Object) -> str:
    """Which part of the installation a pod is."""
    component: str = pod["metadata"]["labels"].get("app.kubernetes.io/component", "")
    return component


def staying(installation: Installation) -> list[Object]:
    """The pods of its namespace but those on their way out: another test's clients may take a while to go."""
    return [each for each in installation.items("pods") if "deletionTimestamp" not in each["metadata"]]


def running(installation: Installation) -> list[Object]:
    """The pods of the installation that run: what its controllers made, not what a test has put beside them."""
    return [each for each in staying(installation) if each["status"]["phase"] == "Running" and _is_part(each)]


def _is_part(pod: Object) -> bool:
    return bool(component_of(pod)) and bool(pod["metadata"].get("ownerReferences"))


def ask(installation: Installation, pod: Object, python: str, shell: str) -> str:
    """What a program prints in a pod: in Python in our images, by the shell in the others."""
    command = ["sh", "-c", shell] if component_of(pod) in DEV_SERVERS else ["python", "-c", python]
    return installation.kubectl("exec", pod["metadata"]["name"], "--", *command)


@pytest.fixture(scope="module")
def seen(shared: Installation) -> list[Seen]:
    """Every running pod of the installation, once."""
    return [Seen(component_of(pod), ask(shared, pod, _LOOK_PYTHON, _LOOK_SHELL)) for pod in running(shared)]


def test_every_part_is_looked_at(seen: list[Seen]) -> None:
    """So that nothing below holds because nothing was seen."""
    workers = {f"worker-{queue}" for queue in ("documents", "analysis", "generation", "webhooks")}

    assert {each.component for each in seen} == {"api", "outbox-relay", "persistence-worker", *workers, *DEV_SERVERS}


def test_nobody_is_root_or_a_user_of_the_node(seen: list[Seen]) -> None:
    """Our processes have ids of 10000 and more in every place; PostgreSQL and Redis of dev.enabled are 999."""
    for each in seen:
        if each.component in DEV_SERVERS:
            assert each.ids == {999}, each.component
        else:
            assert min(each.ids) >= 10_000, each.component


def test_the_kernel_grants_nothing(seen: list[Seen]) -> None:
    """No capability, now or by a program that would bring one; system calls are filtered."""
    for each in seen:
        assert {each.field(f"Cap{kind}") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}, each.component
        assert each.field("NoNewPrivs") == "1", each.component
        assert each.field("Seccomp") == "2", each.component


def test_nothing_can_be_written_but_tmp(seen: list[Seen]) -> None:
    """The root is mounted read-only, and writing to it fails."""
    for each in seen:
        assert "ro" in each.root_options, each.component
        assert each.written == (set() if each.component in DEV_SERVERS else {"/tmp"}), each.component


def test_only_the_relay_can_speak_to_the_api_server(seen: list[Seen]) -> None:
    """It needs its Lease; nobody else has a token."""
    assert {each.component for each in seen if each.has_token} == {"outbox-relay"}


def test_every_pod_was_admitted_as_restricted(shared: Installation) -> None:
    """Those that have ended too: the migration ran in the same namespace, which refuses any other. A drain removes its pod."""
    labels = shared.get("namespace", shared.namespace)["metadata"]["labels"]
    done = [component_of(each) for each in shared.items("jobs") if each["status"].get("succeeded")]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "migrate" in done
    assert "PodSecurity" not in shared.kubectl("events")


def canaries(installation: Installation) -> dict[str, str]:
    """Every secret that the installation holds, by its name."""
    found = {}
    for secret in (f"{installation.fullname}-dev", f"{installation.fullname}-values"):
        for key, value in installation.get("secret", secret)["data"].items():
            text = base64.b64decode(value).decode()
            if key not in {
                "database-url",
                "owner-database-url",
                "redis-url",
                "role.sql",
                "redis.conf",
            }:  # hold the others
                found[key] = text
    return found


def haystack(installation: Installation) -> Iterator[tuple[str, str]]:
    """Where secrets must not be, and what is there."""
    for pod in staying(installation):
        name = pod["metadata"]["name"]
        yield f"the log of {name}", installation.kubectl("logs", name, "--all-containers", "--tail=-1")
        if pod["status"]["phase"] == "Running" and _is_part(pod):
            yield f"arguments and metrics of {name}", ask(installation, pod, _ARGUMENTS_PYTHON, _ARGUMENTS_SHELL)
    for kind in ("events", "configmaps", "pods", "deployments", "replicasets", "statefulsets", "jobs", "services"):
        yield kind, installation.kubectl("get", kind, "-o", "yaml")
    yield "helm status", installation.helm("status", installation.release)


def test_no_secret_is_in_a_log_an_event_a_configmap_or_an_argument(shared: Installation) -> None:
    """After good and bad requests; the same for the token that came with them."""
    token = shared.token()
    environment = {"API_URL": f"http://{shared.fullname}-api:3000", "COURSE": "5ec7e700-0000-4000-8000-000000000001"}
    with client_pod(shared.namespace, "guest") as guest:
        program = f"import os; os.environ.update({environment | {'API_TOKEN': token}!r})\n{_REQUESTS}"
        assert guest.python(program).split() == ["200", "401", "401", "404", "400"]
    needles = {**canaries(shared), "the token": token, "the token's signature": token.rpartition(".")[2]}

    places = dict(haystack(shared))

    assert {"app-password", "owner-password", "redis-password", "jwt-secret", "webhook-keys", "openai-api-key",
            "object-store-access-key-id", "object-store-secret-access-key"} <= needles.keys()  # fmt: skip
    assert [name for name, needle in needles.items() if len(needle) < 16] == []
    assert [
        f"{name} in {where}" for where, text in places.items() for name, needle in needles.items() if needle in text
    ] == []
    arguments = "".join(text for where, text in places.items() if where.startswith("arguments"))
    assert [each for each in ("services.api", "services.outbox_relay", "services.stage_worker", "redis-server", "postgres:")
            if each not in arguments] == []  # fmt: skip
    logs = "".join(text for where, text in places.items() if where.startswith("the log"))
    assert environment["COURSE"] in logs
    assert kubectl("-n", shared.namespace, "get", "configmaps", "-o", "name").count("coursegen") >= 6
