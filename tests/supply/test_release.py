"""A release is of one version, and says by which digests its images are deployed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.servers import REPOSITORY

_VERSION = str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
_FILES = ("scripts/release.py", "pyproject.toml", "charts/coursegen/Chart.yaml", "charts/coursegen-operator/Chart.yaml")
_VALUES = "charts/coursegen/values.yaml"
_SERVERS = {"postgresql": f"sha256:{'8' * 64}", "redis": f"sha256:{'9' * 64}"}
_DIGESTS = {
    target: f"sha256:{letter * 64}"
    for target, letter in zip(
        ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate", "operator"), "abcdef", strict=True
    )
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the script reads."""
    for name in (*_FILES, _VALUES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def _release(tree: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, tree / "scripts" / "release.py", *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_this_tree_could_be_released(tree: Path) -> None:
    """Project and chart are of one version, by which the tag is named."""
    done = _release(tree, "version", f"v{_VERSION}")

    assert (done.returncode, done.stdout) == (0, f"{_VERSION}\n"), done.stderr


def test_another_tag_is_refused(tree: Path) -> None:
    """With all three versions, before anything is built."""
    for tag in ("v9.9.9", _VERSION, f"v{_VERSION}-rc.1"):
        done = _release(tree, "version", tag)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"The tag is {tag}, pyproject.toml says ")


@pytest.mark.parametrize("file", _FILES[1:])
def test_one_that_was_forgotten_is_noticed(tree: Path, file: str) -> None:
    """The tag of either version is refused."""
    text = (tree / file).read_text(encoding="utf-8")
    other = re.sub(rf'^((?:appV|v)ersion ?[:=] )"{_VERSION}"$', r'\1"9.9.9"', text, flags=re.MULTILINE)
    assert other != text
    (tree / file).write_text(other, encoding="utf-8")

    assert [_release(tree, "version", tag).returncode for tag in (f"v{_VERSION}", "v9.9.9")] == [1, 1]


def test_values_name_each_image_by_its_digest(tree: Path) -> None:
    """Under the names that the chart's values have, in the registry of the release."""
    done = _release(
        tree, "values", "ghcr.io/somebody/coursegen-", given=f"{json.dumps(_DIGESTS)} {json.dumps(_SERVERS)}"
    )
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load(done.stdout)
    dev = values.pop("dev")

    assert values.pop("image") == {
        "registry": "ghcr.io",
        "repositoryPrefix": "somebody/coursegen-",
        "tag": _VERSION,
    }
    assert {each["image"]["digest"] for each in values.values()} == set(_DIGESTS.values()) - {_DIGESTS["operator"]}
    assert values["outboxRelay"]["image"]["digest"] == _DIGESTS["outbox-relay"]
    named = yaml.safe_load((tree / _VALUES).read_text(encoding="utf-8"))["dev"]
    assert dev == {each: {"image": f"{named[each]['image']}@{digest}"} for each, digest in _SERVERS.items()}


def test_the_operator_has_values_of_its_own(tree: Path) -> None:
    """As its chart names its one image."""
    done = _release(tree, "operator-values", "ghcr.io/somebody/coursegen-", given=json.dumps(_DIGESTS))

    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["image"] == {
        "registry": "ghcr.io",
        "repository": "somebody/coursegen-operator",
        "tag": _VERSION,
        "digest": _DIGESTS["operator"],
    }


def test_images_of_others_are_named_for_whoever_looks_their_digests_up(tree: Path) -> None:
    """A line for each, as the chart has it."""
    named = yaml.safe_load((tree / _VALUES).read_text(encoding="utf-8"))["dev"]
    done = _release(tree, "servers")

    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == {each: named[each]["image"] for each in _SERVERS}


@pytest.mark.parametrize("target", ["migrate", "postgresql"])
@pytest.mark.parametrize("digest", [None, "", "sha256:abc"])
def test_an_image_without_a_digest_is_no_release(tree: Path, target: str, digest: str | None) -> None:
    """Of an image that was not pushed, or not found, nothing may be offered."""
    given = {**_DIGESTS, **_SERVERS, target: digest}
    left = {name: each for name, each in given.items() if each is not None}

    done = _release(tree, "values", "ghcr.io/somebody/coursegen-", given=json.dumps(left))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no digest for {target}" in done.stderr
