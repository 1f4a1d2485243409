"""The bill of materials of an image: scripts/sbom.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.images.test_images import locked, python_of
from tests.support.images import ImageArchive
from tests.support.servers import REPOSITORY

_SCRIPT = REPOSITORY / "scripts" / "sbom.py"


@pytest.fixture(scope="module")
def bill(built: Callable[[str], str]) -> str:
    """Of the api."""
    return _bill(built("api"))


def _bill(image: str) -> str:
    done = subprocess.run([sys.executable, _SCRIPT, image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_a_bill_of_cyclonedx(bill: str) -> None:
    """By the schema of version 1.6, strictly."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None


def test_every_package_of_the_lock_is_in_it(bill: str, image: Callable[[str], ImageArchive]) -> None:
    """In its version, with the address by which its vulnerabilities are looked up; and the project itself."""
    components: list[dict[str, Any]] = json.loads(bill)["components"]
    addresses = {each["purl"] for each in components if "purl" in each}
    wanted = {f"pkg:pypi/{name}@{version}" for name, version in locked("api", python_of(image("api"))).items()}

    assert wanted
    assert wanted <= addresses
    assert any(each.startswith("pkg:pypi/coursegen@") for each in addresses)


def test_the_base_is_in_it_too(bill: str) -> None:
    """Debian's packages, and which Debian it is: the one part without an address."""
    components = json.loads(bill)["components"]
    names = {each["purl"].partition("@")[0] for each in components if "purl" in each}

    assert {"pkg:deb/debian/libc6", "pkg:deb/debian/libssl3t64", "pkg:deb/debian/ca-certificates"} <= names
    assert [(each["type"], each["name"]) for each in components if "purl" not in each] == [
        ("operating-system", "debian")
    ]


def test_it_says_whose_it_is(bill: str, image: Callable[[str], ImageArchive]) -> None:
    """The image by its id, which everything hangs on."""
    described = json.loads(bill)
    itself = described["metadata"]["component"]

    assert (itself["type"], itself["name"]) == ("container", "coursegen-api")
    assert itself["bom-ref"] == f"image:{image('api').identity}"
    (its_own,) = (each for each in described["dependencies"] if each["ref"] == itself["bom-ref"])
    assert len(its_own["dependsOn"]) == len(described["components"])


def test_the_same_image_gives_the_same_bill(bill: str, built: Callable[[str], str]) -> None:
    """No time and no random number is in it."""
    assert _bill(built("api")) == bill


def test_an_image_that_is_not_there(built: Callable[[str], str]) -> None:
    """The next command is named."""
    assert built("api")
    done = subprocess.run(
        [sys.executable, _SCRIPT, "localhost/no-such:image"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "Build it first: scripts/build-images.sh" in done.stderr
