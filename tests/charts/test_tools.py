"""What an operator adds for a while: the load test, and the pod with psql and redis-cli."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from services.kernel.messages.settings import StreamSettings, stream_address
from services.kernel.settings import Secret
from tests.charts.conftest import CHART, Object, Render
from tests.charts.objects import of_kind

_FILES = CHART / "files"


def _environment(container: Object) -> dict[str, Object]:
    return {each["name"]: each for each in container["env"]}


def _names(environment: dict[str, Object]) -> dict[str, str]:
    """Where each variable comes from: the name of a Secret, or the value itself."""
    return {
        name: each["value"] if "value" in each else each["valueFrom"]["secretKeyRef"]["name"]
        for name, each in environment.items()
    }


def _egress_ports(objects: list[Object], component: str) -> list[int | str]:
    rules = of_kind(objects, "NetworkPolicy")[f"cg-coursegen-{component}"]["spec"]["egress"]
    return [port["port"] for rule in rules for port in rule["ports"]]


def test_nothing_of_it_by_default(render: Render) -> None:
    """Neither the load test nor the tools are there unasked."""
    names = of_kind(render("minimal"), "Pod").keys()

    assert names == {f"cg-coursegen-test-{each}" for each in ("health", "round-trip", "resources")}


def test_each_test_runs_its_program(render: Render) -> None:
    """The programs lie in a ConfigMap together with what they share, and each pod's command names one that is there."""
    objects = render("tools")
    programs = of_kind(objects, "ConfigMap")["cg-coursegen-tests"]["data"]
    pods = {name: each for name, each in of_kind(objects, "Pod").items() if "-test-" in name}

    assert programs.keys() == {"health.py", "round_trip.py", "load.py", "resources.py", "client.py"}
    for name, text in programs.items():
        compile(text, name, "exec")
    for name, pod in pods.items():
        (container,) = pod["spec"]["containers"]
        assert container["command"][1].removeprefix("/programs/") in programs, name
        assert {"name": "programs", "configMap": {"name": "cg-coursegen-tests"}} in pod["spec"]["volumes"]
    assert len(pods) == 4


def test_the_load_test_is_told_how_many(render: Render) -> None:
    """Number and whether to leave the courses come from the values; it reaches the api and nothing else."""
    objects = render("tools")
    (container,) = of_kind(objects, "Pod")["cg-coursegen-test-load"]["spec"]["containers"]
    environment = _environment(container)

    assert (environment["COURSES"]["value"], environment["KEEP_COURSES"]["value"]) == ("20", "true")
    assert environment["JWT_SECRET"]["valueFrom"]["secretKeyRef"]["name"] == "coursegen-jwt"
    assert _egress_ports(objects, "test-load") == [53, 53, "http"]


def test_without_a_secret_of_tokens_there_is_no_load_test(render: Render) -> None:
    """Nobody could mint its token."""
    objects = render("tools", "auth.jwtSecret.existingSecret=", "config.api.JWT_JWKS_URL=https://id.example.org/keys")

    assert "cg-coursegen-test-load" not in of_kind(objects, "Pod")


def test_the_tools_know_the_servers_and_end_by_themselves(render: Render) -> None:
    """Addresses only from Secrets and only in the container that writes them down; no more ways than to the servers."""
    objects = render("tools")
    pod = of_kind(objects, "Pod")["cg-coursegen-tools"]
    (addresses,) = pod["spec"]["initContainers"]
    sources = {name: each["valueFrom"]["secretKeyRef"]["name"] for name, each in _environment(addresses).items()}

    assert sources == {
        "DATABASE_URL": "coursegen-database",
        "OWNER_DATABASE_URL": "coursegen-database-owner",
        "REDIS_URL": "coursegen-redis",
    }
    assert pod["spec"]["activeDeadlineSeconds"] == 28800
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod["spec"]  # it is made before the release is
    images = {each["name"]: each["image"] for each in pod["spec"]["containers"]}
    assert images == {"postgresql": "docker.io/library/postgres:18", "redis": "docker.io/library/redis:8"}
    assert all("valueFrom" not in each for container in pod["spec"]["containers"] for each in container["env"])
    assert _egress_ports(objects, "tools") == [53, 53, 5432, 6379]


def test_the_tools_know_the_stream_of_messages(render: Render) -> None:
    """Where it has a Redis of its own, with the password and the way there; without one nothing is added."""
    own = ["config.stream.REDIS_HOST=stream", "config.stream.REDIS_PORT=6390", "config.stream.REDIS_STREAM_DB=0"]
    own += [
        "redis.streamPassword.existingSecret=stream",
        "networkPolicy.stream.enabled=true",
        "networkPolicy.stream.port=6390",
    ]
    objects = render("tools", *own)
    (addresses,) = of_kind(objects, "Pod")["cg-coursegen-tools"]["spec"]["initContainers"]
    found = _names(_environment(addresses))

    assert {name: found[name] for name in found if name not in {"DATABASE_URL", "OWNER_DATABASE_URL", "REDIS_URL"}} == {
        "REDIS_HOST": "stream",
        "REDIS_PORT": "6390",
        "REDIS_STREAM_DB": "0",
        "REDIS_PASSWORD": "stream",
    }
    assert _egress_ports(objects, "tools") == [53, 53, 5432, 6379, 6390]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """What tools.py writes for addresses with every difficulty."""
    environment = {
        **os.environ,
        "TOOLS_FOLDER": str(tmp_path),
        "DATABASE_URL": "postgresql://app%40x:p%2Fw%27@one:5433,two/courses?sslmode=verify-full",
        "OWNER_DATABASE_URL": "postgresql://owner:secret@[::1]/courses",
        "REDIS_URL": "rediss://reader:it%27s@redis.example.org:6380/2",
    }
    subprocess.run([sys.executable, _FILES / "tools.py"], env=environment, check=True, timeout=30)
    return tmp_path


def test_tools_write_services_of_libpq(tools: Path) -> None:
    """One for the application and one for the owner: decoded, with all hosts and parameters; only the user may read them."""
    path = tools / "pg_service.conf"

    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert path.read_text(encoding="utf-8").splitlines() == [
        *("[app]", "host=one,two", "port=5433,5432", "dbname=courses", "user=app@x", "password=p/w'", "sslmode=verify-full"),
        *("[owner]", "host=::1", "port=5432", "dbname=courses", "user=owner", "password=secret"),
    ]  # fmt: skip


def _called(folder: Path, tool: str, *arguments: str) -> list[str]:
    """The password in the environment of redis-cli, and its arguments, when a tool is called."""
    seen = folder / "redis-cli"
    seen.write_text('#!/bin/sh\necho "$REDISCLI_AUTH"; echo "$@"\n', encoding="utf-8")
    seen.chmod(0o700)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        [folder / tool, *arguments], env=environment, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.splitlines()


def test_tools_call_redis_without_its_password(tools: Path) -> None:
    """Arguments name the server; the password is in the environment. The stream lies in a database of its own."""
    server = "-h redis.example.org -p 6380"

    assert _called(tools, "redis", "INFO", "memory") == ["it's", f"{server} -n 2 --user reader --tls INFO memory"]
    assert _called(tools, "stream", "XLEN", "msg:dlq") == ["it's", f"{server} -n 1 --user reader --tls XLEN msg:dlq"]


@pytest.mark.parametrize(
    ("own", "password", "arguments"),
    [
        ({"REDIS_STREAM_DB": "3"}, "secret", "-h one -p 6379 -n 3 PING"),
        ({"REDIS_HOST": "two"}, "", "-h two -p 6379 -n 1 PING"),
        ({"REDIS_HOST": "::1", "REDIS_PORT": "7000", "REDIS_PASSWORD": "p/w' @"}, "p/w' @", "-h ::1 -p 7000 -n 1 PING"),
    ],
)
def test_the_tools_find_the_stream(tmp_path: Path, own: dict[str, str], password: str, arguments: str) -> None:
    """Where the processes find it: the same server as they, the same database, the same password."""
    servers = {"DATABASE_URL": "postgresql://app@one/courses", "REDIS_URL": "redis://:secret@one/0"}
    environment = {**os.environ, "TOOLS_FOLDER": str(tmp_path), **servers, **own}
    subprocess.run([sys.executable, _FILES / "tools.py"], env=environment, check=True, timeout=30)
    settings = StreamSettings(
        redis_host=own.get("REDIS_HOST"),
        redis_port=int(own.get("REDIS_PORT", "6379")),
        redis_password=Secret(own["REDIS_PASSWORD"]) if "REDIS_PASSWORD" in own else None,
        redis_stream_db=int(own.get("REDIS_STREAM_DB", "1")),
    )
    theirs = urlsplit(stream_address(settings, Secret(servers["REDIS_URL"])).reveal())

    assert _called(tmp_path, "stream", "PING") == [password, arguments]
    assert (theirs.hostname, theirs.port or 6379, theirs.path) == (
        arguments.split()[1],
        int(arguments.split()[3]),
        f"/{arguments.split()[5]}",
    )
    assert unquote(theirs.password or "") == password
