"""Each image, built once and looked into."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.images import SAVE, ImageArchive, build, checked_out, require_builder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a builder of images, and may wait for it."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("images")
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def commits() -> dict[str, str]:
    """The commit that was checked out when an image was built."""
    return {}


@pytest.fixture(scope="session")
def built(commits: dict[str, str]) -> Callable[[str], str]:
    """The name of a process' image, built from this tree."""
    require_builder()

    @functools.cache
    def make(target: str) -> str:
        commits[target] = checked_out()
        return build(target)

    return make


@pytest.fixture(scope="session")
def image(built: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ImageArchive]:
    """A process' image, to be looked into."""

    @functools.cache
    def saved(target: str) -> ImageArchive:
        archive = tmp_path_factory.mktemp("images") / f"{target}.tar"
        subprocess.run([SAVE, "save", built(target), archive], check=True, capture_output=True)
        return ImageArchive(archive)

    return saved
