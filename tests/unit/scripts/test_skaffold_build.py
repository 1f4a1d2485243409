"""What scripts/skaffold-build.sh asks a builder for. The builder is a recorder: a registry with TLS is nowhere near."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_RECORDER = """#!/bin/sh
echo "$*" >>"$RECORD"
case $1 in push) exit "${PUSH_EXIT:-0}" ;; images) echo 1 MB ;; esac
"""


class Builder:
    """The script with a `buildah` that only writes down what it is asked for."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes the program and its record."""
        self._record = folder / "record"
        program = folder / "buildah"
        program.write_text(_RECORDER, encoding="utf-8")
        program.chmod(0o755)
        self._environment = {"PATH": f"{folder}:/usr/bin:/bin", "RECORD": str(self._record), "BUILDER": "buildah",
                             "HOME": os.environ.get("HOME", "/"), "BUILD_CONTEXT": str(_ROOT)}  # fmt: skip

    def __call__(self, target: str = "api", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script to its end."""
        return subprocess.run(
            [_ROOT / "scripts" / "skaffold-build.sh", target], env=self._environment | environment, cwd="/",
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def asked(self, verb: str) -> list[str]:
        """The words of the one call with this verb."""
        lines = self._record.read_text(encoding="utf-8").splitlines() if self._record.exists() else []
        (found,) = [line.split() for line in lines if line.split()[0] == verb]
        return found[1:]


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    """The script, with nothing recorded yet."""
    return Builder(tmp_path)


def test_the_image_is_built_as_a_release_is(build: Builder) -> None:
    """The target, the name skaffold gave, the base image, one date for all files, and the platform of the nodes."""
    done = build(
        "api-dev", IMAGE="localhost:5000/api:1", PUSH_IMAGE="true", PYTHON_IMAGE="localhost/python:3.13-slim",
        PLATFORMS="linux/arm64", BUILD_FLAGS="-v /a:/a:ro",
    )  # fmt: skip
    asked = " ".join(build.asked("bud"))

    assert done.returncode == 0, done.stderr
    assert "--target api-dev -t localhost:5000/api:1 ." in asked
    assert "--build-arg PYTHON_IMAGE=localhost/python:3.13-slim" in asked
    assert "--layers --timestamp 315532800" in asked
    assert "-v /a:/a:ro --platform linux/arm64" in asked


@pytest.mark.parametrize(
    ("image", "plain"),
    [
        ("localhost:5000/api:1", True),
        ("127.0.0.1:5000/api:1", True),
        ("127.9.8.7/api:1", True),
        ("[::1]:5000/api:1", True),
        ("registry.example.org/api:1", False),
        ("registry.example.org/localhost:5000", False),
        ("registry.example.org/api:127.0.0.1", False),
        ("localhost.example.org:5000/api:1", False),
        ("127.0.0.1.example.org/api:1", False),
        ("10.0.0.1:5000/api:1", False),
    ],
)
def test_only_a_registry_on_this_machine_is_spoken_to_without_tls(build: Builder, image: str, plain: bool) -> None:
    """By the host in the name, whatever else the name holds."""
    assert build(IMAGE=image, PUSH_IMAGE="true").returncode == 0

    asked = build.asked("push")
    assert asked[-1] == image
    assert ("--tls-verify=false" in asked) is plain


def test_a_failed_push_says_what_to_look_at(build: Builder) -> None:
    """And fails the build."""
    done = build(IMAGE="ghcr.io/coursegen/api:1", PUSH_IMAGE="true", PUSH_EXIT="1")

    assert done.returncode != 0
    assert "ghcr.io/coursegen/api:1 was not pushed" in done.stderr
    assert "--default-repo localhost:5000" in done.stderr


def test_without_docker_an_image_must_be_pushed(build: Builder) -> None:
    """Skaffold looks for it in Docker's engine otherwise: the message names the profile that pushes."""
    done = build(IMAGE="ghcr.io/coursegen/api:1", PUSH_IMAGE="false")

    assert done.returncode != 0
    assert "skaffold dev -p local --default-repo localhost:5000" in done.stderr


def test_several_platforms_are_refused(build: Builder) -> None:
    """The images are for one platform each."""
    done = build(IMAGE="localhost:5000/api:1", PUSH_IMAGE="true", PLATFORMS="linux/amd64,linux/arm64")

    assert done.returncode != 0
    assert "--platform linux/amd64" in done.stderr
