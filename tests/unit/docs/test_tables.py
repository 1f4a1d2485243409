"""Tables that list what a folder holds leave nothing out."""

from __future__ import annotations

import re
import runpy
import subprocess

import yaml

from tests.support.fences import fences
from tests.support.servers import REPOSITORY

_DIGEST = f"sha256:{'0' * 64}"


def _tracked(*paths: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", *paths], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def _first_cells(page: str) -> set[str]:
    """What the first column of a page's tables names."""
    rows = re.findall(r"^\| (`[^|]*`) \|", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_readme_names_every_folder() -> None:
    """And nothing that is not there."""
    folders = {name.partition("/")[0] for name in _tracked() if "/" in name and not name.startswith(".")}
    named = _first_cells("README.md")

    assert folders == {name.partition("/")[0] for name in named if (REPOSITORY / name).is_dir()}
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_the_page_on_kubernetes_shows_a_digest_for_every_image() -> None:
    """As the file that a release offers has them."""
    release = runpy.run_path(str(REPOSITORY / "scripts" / "release.py"))
    page = (REPOSITORY / "docs" / "KUBERNETES.md").read_text(encoding="utf-8")
    (shown,) = (each for each in fences(page) if each.language == "yaml" and "digest" in each.text)
    digests = dict.fromkeys([*release["PARTS"], *release["SERVERS"]], _DIGEST)
    offered = yaml.safe_load(release["values"]("ghcr.io/OWNER/coursegen-", digests, "1"))

    assert list(yaml.safe_load(shown.text)) == list(offered)
    servers = {name: each["image"].partition("@")[0] for name, each in yaml.safe_load(shown.text)["dev"].items()}
    assert servers == {name: each["image"].partition("@")[0] for name, each in offered["dev"].items()}
    assert {part for part, own in yaml.safe_load(shown.text).items() if "digest" in own.get("image", {})} == set(
        release["PARTS"].values()
    )


def test_the_page_on_kubernetes_names_every_file_of_values() -> None:
    """Those to begin with that come with the chart, and those of the kind cluster."""
    files = set(_tracked("charts/coursegen/ci", "charts/coursegen/examples", "deploy"))

    assert files
    assert files == {name for name in _first_cells("docs/KUBERNETES.md") if name.endswith(".yaml")}
