"""What an operator adds for a while: the load test, and the pod with psql and redis-cli."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.charts.conftest import CHART, Object, Render
from tests.charts.objects import of_kind

_FILES = CHART / "files"


def _environment(container: Object) -> dict[str, Object]:
    return {each["name"]: each for each in container["env"]}


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


def test_tools_call_redis_without_its_password(tools: Path, tmp_path: Path) -> None:
    """Arguments name the server; the password is in the environment."""
    seen = tmp_path / "redis-cli"
    seen.write_text('#!/bin/sh\necho "$REDISCLI_AUTH"; echo "$@"\n', encoding="utf-8")
    seen.chmod(0o700)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [tools / "redis", "INFO", "memory"], env=environment, check=True, capture_output=True, text=True, timeout=30
    )

    assert done.stdout.splitlines() == [
        "it's",
        "-h redis.example.org -p 6380 -n 2 --user reader --tls INFO memory",
    ]
