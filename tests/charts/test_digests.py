"""A release's values name every image by its digest, those of PostgreSQL, Redis and the tools pod as well (reliability S13)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.conftest import CHART, NEWEST, rendered, template
from tests.support.servers import REPOSITORY

_TARGETS = ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate", "postgresql", "redis")
_DIGEST = re.compile(r"\S+:\S+@sha256:[0-9a-f]{64}")
_OWN = (
    "database.existingSecret=d",
    "database.migrations.existingSecret=o",
    "redis.existingSecret=r",
    "auth.jwtSecret.existingSecret=j",
)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digests-values.yaml as a release writes it."""
    digests = {target: f"sha256:{number:064x}" for number, target in enumerate(_TARGETS, 1)}
    command = [sys.executable, REPOSITORY / "scripts" / "release.py", "values", "ghcr.io/somebody/coursegen-"]
    done = subprocess.run(command, input=json.dumps(digests), capture_output=True, text=True, timeout=30, check=True)
    file = tmp_path_factory.mktemp("released") / "digests-values.yaml"
    file.write_text(done.stdout, encoding="utf-8")
    return file


def _images(part: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every image that is named in an object, of a container or of a resource, with where that is."""
    if isinstance(part, dict):
        for key, each in part.items():
            if key == "image" and isinstance(each, str):
                yield path, each
            yield from _images(each, f"{path}/{each['name'] if isinstance(each, dict) and 'name' in each else key}")
    elif isinstance(part, list):
        for number, each in enumerate(part):
            yield from _images(each, f"{path}/{each.get('name', number) if isinstance(each, dict) else number}")


@pytest.mark.parametrize(
    "sets",
    [
        ("dev.enabled=true", "tools.enabled=true", "tests.load.enabled=true"),
        (*_OWN, "tools.enabled=true"),
        (*_OWN, "migrations.mode=operator"),
    ],
    ids=["with its servers", "with the tools", "with the operator"],
)
def test_every_image_of_a_release_has_a_digest(helm: str, released: Path, sets: tuple[str, ...]) -> None:
    """Whatever is switched on: processes, migrations, tests, tools and the servers of development."""
    done = template(helm, CHART, "cg", "courses", released, sets, NEWEST)
    objects = rendered(done)
    images = {
        f"{each['metadata']['name']}{path}": image for each in objects for path, image in _images(each.get("spec", {}))
    }

    assert len(images) > 7
    assert {name: image for name, image in images.items() if not _DIGEST.fullmatch(image)} == {}
    assert ("cg-coursegen-tools/containers/postgresql" in images) == ("tools.enabled=true" in sets)
