"""What the files of values in examples/ say beside their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import CHART

_EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))


def _manifest(file: Path) -> dict[str, Any]:
    """The object that the comment of a file shows, indented."""
    lines = file.read_text(encoding="utf-8").splitlines()
    shown = [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]
    found: dict[str, Any] = yaml.safe_load("\n".join(shown))
    return found


def test_the_owner_that_cloudnative_pg_makes_may_create_roles() -> None:
    """The first migration creates roles as the owner, who is no superuser there."""
    initdb = _manifest(CHART / "examples" / "cloudnative-pg-values.yaml")["spec"]["bootstrap"]["initdb"]

    assert initdb["postInitSQL"] == [f"ALTER ROLE {initdb['owner']} CREATEROLE"]


def test_every_secret_that_cloudnative_pg_is_given_is_made() -> None:
    """By a command of the file, for a login of the name that its role has; the owner's comes from CloudNativePG."""
    file = CHART / "examples" / "cloudnative-pg-values.yaml"
    text, manifest = file.read_text(encoding="utf-8"), _manifest(file)
    values = yaml.safe_load(text)["database"]
    (role,) = manifest["spec"]["managed"]["roles"]

    made = re.findall(
        r"^# kubectl create secret generic (\S+) --type=kubernetes.io/basic-auth --from-env-file=", text, re.MULTILINE
    )
    assert made == [role["passwordSecret"]["name"]]
    assert f"username={role['name']} and password=" in text
    assert f"postgresql://{role['name']}:…@{manifest['metadata']['name']}-rw:5432/" in text
    assert f"Make {values['existingSecret']} yourself" in text
    assert values["migrations"]["existingSecret"] == f"{manifest['metadata']['name']}-app"


@pytest.mark.parametrize("file", _EXAMPLES, ids=lambda each: each.stem)
def test_paths_take_effect_or_the_file_says_when(file: Path) -> None:
    """A way that is named while policies are off would be taken for one that is closed."""
    text = file.read_text(encoding="utf-8")
    policy = yaml.safe_load(text).get("networkPolicy", {})

    if policy and not policy.get("enabled"):
        assert re.search(r"^# Takes effect with networkPolicy\.enabled\b.*\nnetworkPolicy:$", text, re.MULTILINE)


def test_sentinel_is_not_asked() -> None:
    """The first line says so: nobody should look for its addresses among the values."""
    file = CHART / "examples" / "redis-sentinel-values.yaml"

    assert "through a proxy" in file.read_text(encoding="utf-8").splitlines()[0]
