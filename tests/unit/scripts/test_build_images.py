"""What scripts/build-images.sh asks each builder for. The builders are recorders; tests/images builds with a real one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_RECORDER = """#!/bin/sh
case "$*" in *build*|bud*) echo "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH $*" >>"$RECORD" ;; *) echo 1 MB ;; esac
"""
_REWRITTEN = "--output type=docker,rewrite-timestamp=true"
_SOURCE = "--label org.opencontainers.image.source="

Asked = Callable[..., str]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Runs the script for one target with a builder that only writes down what it is asked for: its words."""
    for name in ("docker", "podman", "buildah"):
        program = tmp_path / name
        program.write_text(_RECORDER, encoding="utf-8")
        program.chmod(0o755)
    record = tmp_path / "record"

    def run(builder: str, **environment: str) -> str:
        given = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RECORD": str(record), "BUILDER": builder, **environment}
        script = _ROOT / "scripts" / "build-images.sh"
        done = subprocess.run([script, "api"], env=given, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = record.read_text(encoding="utf-8").splitlines()
        return line

    return run


@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_layers_bear_one_date(asked: Asked, builder: str) -> None:
    """By the builder's own argument; what docker would be told is not for them."""
    words = asked(builder, BUILDX_BUILDER="release")

    assert "--timestamp 315532800" in words
    assert "--output" not in words


def test_a_builder_of_buildx_dates_every_file(asked: Asked) -> None:
    """To the date that it is given."""
    words = asked("docker", BUILDX_BUILDER="release")

    assert words.startswith("SOURCE_DATE_EPOCH=315532800 build ")
    assert "--build-arg SOURCE_DATE_EPOCH" in words
    assert _REWRITTEN in words


def test_dockers_engine_is_not_asked_for_what_it_refuses(asked: Asked) -> None:
    """With containerd's store an image would not be built at all."""
    assert "--output" not in asked("docker")


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_the_source_is_a_label(asked: Asked, builder: str) -> None:
    """Where it is named; a fork is not called ours."""
    assert f"{_SOURCE}https://example.org/courses " in asked(builder, IMAGE_SOURCE="https://example.org/courses")


def test_an_unknown_source_is_no_label(asked: Asked) -> None:
    """Version and revision are."""
    words = asked("buildah")

    assert _SOURCE not in words
    assert "--label org.opencontainers.image.version=" in words
