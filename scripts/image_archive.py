"""An image as `docker save` and its like write it: what runs, of which layers it is made, and the files that a container sees."""

from __future__ import annotations

import json
import posixpath
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

_SAVE = Path(__file__).resolve().with_name("image.sh")
_GONE = ".wh."
_ALL_GONE = ".wh..wh..opq"


class ImageArchive:
    """One image in an archive. Nothing is unpacked; files are read from the layers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with tarfile.open(path) as archive:
            (self._manifest,) = json.load(_member(archive, "manifest.json"))
            self.description: dict[str, Any] = json.load(_member(archive, self._manifest["Config"]))
            """The image's own description, by the OCI image specification."""

    @property
    def identity(self) -> str:
        """The image's id: 64 digits, the hash of the description."""
        return str(Path(self._manifest["Config"]).stem)

    @property
    def config(self) -> dict[str, Any]:
        """What a container of the image runs, as whom, with which variables."""
        found: dict[str, Any] = self.description["config"]
        return found

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return dict(self.config.get("Labels") or {})

    @property
    def layers(self) -> list[str]:
        """The digest of each layer's content, from the lowest up."""
        return list(self.description["rootfs"]["diff_ids"])

    @cached_property
    def files(self) -> dict[str, tuple[int, tarfile.TarInfo]]:
        """Path without the first slash → the layer that it is from, and what it is there."""
        seen: dict[str, tuple[int, tarfile.TarInfo]] = {}
        for number, members in enumerate(self._members()):
            _remove(seen, members)
            seen |= {
                name: (number, member) for name, member in members.items() if _GONE not in posixpath.basename(name)
            }
        return seen

    def read(self, paths: list[str]) -> dict[str, bytes]:
        """Contents of regular files; each layer is gone through once."""
        wanted: dict[int, list[str]] = {}
        for path in paths:
            wanted.setdefault(self.files[path][0], []).append(path)
        contents: dict[str, bytes] = {}
        for number, names in wanted.items():
            with self._layer(number) as layer:
                for name in names:
                    content = layer.extractfile(self.files[name][1])
                    contents[name] = content.read() if content else b""
        return contents

    def _members(self) -> Iterator[dict[str, tarfile.TarInfo]]:
        for number in range(len(self._manifest["Layers"])):
            with self._layer(number) as layer:
                yield {posixpath.normpath(each.name).lstrip("/"): each for each in layer}

    @contextmanager
    def _layer(self, number: int) -> Iterator[tarfile.TarFile]:
        with tarfile.open(self._path) as archive:
            member = archive.extractfile(self._manifest["Layers"][number])
            with tarfile.open(fileobj=member, mode="r") as layer:
                yield layer


@contextmanager
def saved(image: str) -> Iterator[ImageArchive]:
    """An image that a builder here has, by its name. Raises CalledProcessError when it has none of that name."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        subprocess.run([_SAVE, "save", image, archive], check=True)
        yield ImageArchive(archive)


def _member(archive: tarfile.TarFile, name: str) -> Any:
    return archive.extractfile(name)


def _remove(seen: dict[str, tuple[int, tarfile.TarInfo]], members: dict[str, tarfile.TarInfo]) -> None:
    """What a layer's marks take away from those below it."""
    for name in members:
        folder, mark = posixpath.split(name)
        if not mark.startswith(_GONE):
            continue
        gone = folder if mark == _ALL_GONE else posixpath.join(folder, mark.removeprefix(_GONE))
        for path in [each for each in seen if each.startswith(f"{gone}/") or (each == gone and mark != _ALL_GONE)]:
            del seen[path]
