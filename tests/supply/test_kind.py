"""The configuration of the kind cluster, read by kind's own code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.servers import REPOSITORY
from tests.support.tools import tool

CONFIG = REPOSITORY / "deploy" / "kind.yaml"
VALUES = REPOSITORY / "deploy" / "kind-values.yaml"


def _read_by_kind(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("kind-config"), path], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.helm
def test_kind_takes_the_configuration() -> None:
    """One control plane and two workers, of the image that the pinned kind is released with, by digest."""
    done = _read_by_kind(CONFIG)
    assert done.returncode == 0, done.stderr
    name, *nodes = done.stdout.splitlines()

    assert name == "coursegen"
    assert [each.split()[0] for each in nodes] == ["control-plane", "worker", "worker"]
    assert all(re.fullmatch(r"kindest/node:v[\d.]+@sha256:[0-9a-f]{64}", each.split()[1]) for each in nodes)


@pytest.mark.helm
def test_the_image_is_the_pinned_kinds_own(tmp_path: Path) -> None:
    """Kind builds its node images for each release: another one than its own may not start."""
    plain = tmp_path / "plain.yaml"
    plain.write_text(
        re.sub(r"^ *image: .*\n", "", CONFIG.read_text(encoding="utf-8"), flags=re.MULTILINE), encoding="utf-8"
    )

    assert _read_by_kind(plain).stdout == _read_by_kind(CONFIG).stdout


@pytest.mark.helm
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("hostPort", "hostport"), "field hostport not found"),
        (("role: worker", "role: helper"), "not a valid node role"),
        (("containerPort: 30080", "containerPort: 300800"), "invalid containerPort"),
        (("v1alpha4", "v1"), "unknown apiVersion"),
    ],
)
def test_a_wrong_configuration_would_be_noticed(tmp_path: Path, wrong: tuple[str, str], says: str) -> None:
    """Fields, roles, ports and the version are judged."""
    file = tmp_path / "kind.yaml"
    file.write_text(CONFIG.read_text(encoding="utf-8").replace(*wrong), encoding="utf-8")

    done = _read_by_kind(file)
    assert done.returncode == 1
    assert says in done.stderr


def test_the_api_has_the_port_that_is_carried_out() -> None:
    """The values give the Service the port that the node gives to this machine, on loopback only."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (mapping,) = (each for node in config["nodes"] for each in node.get("extraPortMappings", ()))
    service = yaml.safe_load(VALUES.read_text(encoding="utf-8"))["api"]["service"]

    assert (service["type"], service["nodePort"]) == ("NodePort", mapping["containerPort"])
    assert mapping["listenAddress"] == "127.0.0.1"
    assert f"http://localhost:{mapping['hostPort']}/" in (REPOSITORY / "scripts" / "cluster.sh").read_text(
        encoding="utf-8"
    )
