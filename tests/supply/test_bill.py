"""What scripts/sbom.py says of Debian's packages: enough for whoever looks their vulnerabilities up (reliability S13)."""

from __future__ import annotations

import sys
from typing import Any, cast

from packageurl import PackageURL

from tests.support.images import ImageArchive
from tests.support.servers import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))  # where programs are, not a package
import sbom

_STATUS = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.41-12

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-14 (14.2.0-19)
Version: 14.2.0-19+b1

Package: tar
Status: install ok installed
Architecture: amd64
Version: 1.35

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'


class _Image:
    """An image of nothing but these files."""

    labels: dict[str, str] = {"org.opencontainers.image.title": "coursegen-api"}  # noqa: RUF012 - as an image has them
    identity = "0" * 64
    description = {"created": "1980-01-01T00:00:00+00:00"}  # noqa: RUF012
    config: dict[str, Any] = {"Env": ["PYTHON_VERSION=3.13.9"]}  # noqa: RUF012

    def __init__(self, **files: bytes) -> None:
        self.files = {path.replace("__", "/"): content for path, content in files.items()}

    def read(self, paths: list[str]) -> dict[str, bytes]:
        """Contents, by path."""
        return {each: self.files[each] for each in paths}


def _bill(**files: bytes) -> dict[str, Any]:
    found = sbom.bill(cast(ImageArchive, _Image(**files)))
    return {each.name: each for each in found.components}


def test_a_package_has_its_release_and_its_source() -> None:
    """Advisories are of sources, and for a release: without either a scanner finds none, and says that all is well."""
    found = _bill(var__lib__dpkg__status=_STATUS, **{"usr__lib__os-release": _RELEASE})
    told = {name: found[name].purl.qualifiers for name in ("libc6", "libgcc-s1", "tar")}

    assert told == {
        "libc6": {"arch": "amd64", "distro": "debian-13", "upstream": "glibc"},
        "libgcc-s1": {"arch": "amd64", "distro": "debian-13", "upstream": "gcc-14@14.2.0-19"},
        "tar": {"arch": "amd64", "distro": "debian-13", "upstream": "tar"},
    }
    assert (found["debian"].type.value, found["debian"].version) == ("operating-system", "13")
    assert found["python"].purl == PackageURL("generic", None, "python", "3.13.9")
    assert "gone" not in found


def test_an_image_that_does_not_say_its_release_has_a_bill_all_the_same() -> None:
    """With the packages, and no version of the distribution."""
    found = _bill(var__lib__dpkg__status=_STATUS)

    assert found["tar"].purl.qualifiers["distro"] == "debian"
    assert "debian" not in found
