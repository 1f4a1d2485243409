"""Say what images are made of, as CycloneDX bills of materials: ``.venv/bin/python scripts/sbom.py IMAGE > sbom.json``.

Read from the image itself: the Python packages that were installed, those of the base, Debian's packages, and Python. The same
image gives the same bill.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from email.parser import BytesHeaderParser, HeaderParser
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from image_archive import ImageArchive, saved
from packageurl import PackageURL

_METADATA = re.compile(r"(^|/)[^/]+\.dist-info/METADATA$")
_DEBIAN = "var/lib/dpkg/status"
_RELEASE = "usr/lib/os-release"


def bill(image: ImageArchive) -> Bom:
    """Everything in an image, with an address for each thing by which its vulnerabilities can be looked up."""
    labels = image.labels
    name = labels.get("org.opencontainers.image.title", "image")
    version = labels.get("org.opencontainers.image.version")
    itself = Component(
        name=name,
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref=f"image:{image.identity}",
        description=labels.get("org.opencontainers.image.description"),
    )
    found = Bom(
        components={each.bom_ref.value: each for each in _parts(image)}.values(),
        metadata=BomMetaData(component=itself, timestamp=datetime.fromisoformat(image.description["created"])),
        serial_number=uuid5(NAMESPACE_URL, f"urn:sha256:{image.identity}"),
    )
    found.register_dependency(itself, found.components)
    return found


def _parts(image: ImageArchive) -> Iterator[Component]:
    yield from _python_packages(image)
    yield from _debian_packages(image)
    for variable in image.config.get("Env") or []:
        name, _, version = variable.partition("=")
        if name == "PYTHON_VERSION":  # of the official images, which compile it
            yield _component("python", version, PackageURL("generic", None, "python", version))


def _python_packages(image: ImageArchive) -> Iterator[Component]:
    descriptions = image.read(sorted(path for path in image.files if _METADATA.search(path)))
    for content in descriptions.values():
        fields = BytesHeaderParser().parsebytes(content)
        name, version = str(fields["Name"]), str(fields["Version"])
        licence = str(fields["License-Expression"] or fields["License"] or "")
        yield _component(name, version, PackageURL("pypi", None, name.lower().replace("_", "-"), version), licence)


def _debian_packages(image: ImageArchive) -> Iterator[Component]:
    """What dpkg knows, each with its release and its source: advisories name sources, and say for which release they are."""
    if _DEBIAN not in image.files:
        return
    name, version = _release(image)
    if version:
        yield Component(name=name, version=version, type=ComponentType.OPERATING_SYSTEM, bom_ref="operating-system")
    distro = f"{name}-{version}" if version else name
    for paragraph in image.read([_DEBIAN])[_DEBIAN].decode().strip().split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if str(fields["Status"]).endswith(" installed"):
            name, version = str(fields["Package"]), str(fields["Version"])
            told = {
                "arch": str(fields["Architecture"]),
                "distro": distro,
                "upstream": _source(str(fields["Source"] or name)),
            }
            yield _component(name, version, PackageURL("deb", "debian", name, version, told))


def _release(image: ImageArchive) -> tuple[str, str]:
    """Name and version of the distribution, as its advisories have them; no version where the image does not say."""
    lines = image.read([_RELEASE])[_RELEASE].decode().splitlines() if _RELEASE in image.files else []
    found = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    return found.get("ID", "debian"), found.get("VERSION_ID", "")


def _source(field: str) -> str:
    """Of "glibc (2.41-12)", which names a version only where it is not the package's own: glibc@2.41-12."""
    name, _, version = field.partition(" ")
    return f"{name}@{version.strip('()')}" if version else name


def _component(name: str, version: str, address: PackageURL, licence: str = "") -> Component:
    licences = [LicenseFactory().make_from_string(licence)] if licence and "\n" not in licence else []
    return Component(
        name=name, version=version, purl=address, bom_ref=str(address), licenses=licences, type=ComponentType.LIBRARY
    )


def main() -> int:
    """Print the bill of each image, or write it into a folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="its name, which a builder here knows")
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="write NAME.cdx.json for each, by its title, instead of printing"
    )
    wanted = parser.parse_args()
    for name in wanted.images:
        try:
            with saved(name) as image:
                found = bill(image)
        except subprocess.CalledProcessError:
            print(f"{name} could not be read. Build it first: scripts/build-images.sh", file=sys.stderr)
            return 1
        text = JsonV1Dot6(found).output_as_string(indent=2)
        if wanted.into:
            wanted.into.mkdir(parents=True, exist_ok=True)
            title = found.metadata.component.name if found.metadata.component else "image"
            (wanted.into / f"{title}.cdx.json").write_text(text + "\n", encoding="utf-8")
        else:
            print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
