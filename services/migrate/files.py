"""The migration files of a release: their order, their checksums, and how each wants to be run."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from services.kernel.errors import OperatorError

_FILE_NAME = re.compile(r"(?P<version>\d{14})_(?P<name>[a-z0-9_]+)\.sql")
_NO_TRANSACTION = re.compile(r"^--\s*migrate:\s*no-transaction\s*$", re.MULTILINE)
_CONTRACT = re.compile(r"^--\s*(migrate|Phase):\s*contract\s*$", re.MULTILINE)
_AMENDS = re.compile(r"^--\s*Amends:(?P<names>.*)$", re.MULTILINE)
_VERSION = re.compile(r"\b\d{14}(?=_)")

Phase = Literal["expand", "contract"]
"""`expand` comes before the code that needs it, `contract` after the code that needed what it removes."""


class MigrationFilesInvalid(OperatorError):
    """The folder of migrations cannot be used as it is."""

    code = "migration_files_invalid"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One file of the folder."""

    version: str
    """The fourteen digits of its name; files are applied in their order."""
    name: str
    """The rest of its name."""
    text: str

    @property
    def filename(self) -> str:
        """As it stands in the folder."""
        return f"{self.version}_{self.name}.sql"

    @property
    def checksum(self) -> str:
        """SHA-256 of the text; line ends do not count, so that a checkout on Windows is the same file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def in_transaction(self) -> bool:
        """False when the file says `-- migrate: no-transaction`: its statements are then run one by one."""
        return _NO_TRANSACTION.search(self.text) is None

    @property
    def phase(self) -> Phase:
        """`contract` when the file says `-- migrate: contract`, or only in its header `-- Phase: contract`."""
        return "contract" if _CONTRACT.search(self.text) else "expand"

    @property
    def amends(self) -> frozenset[str]:
        """Versions on its lines `-- Amends:`, whose objects it replaces or hangs something on: applied after them, always."""
        return frozenset(version for line in _AMENDS.finditer(self.text) for version in _VERSION.findall(line["names"]))


def find_directory() -> Path:
    """The folder of this installation: inside the package when installed, else beside it in the source tree.

    Raises:
        MigrationFilesInvalid: there is none.
    """
    bundled = Path(str(resources.files("services"))) / "migrations_bundle"
    source = Path(__file__).resolve().parents[2] / "migrations"
    for folder in (bundled, source):
        if folder.is_dir():
            return folder
    raise MigrationFilesInvalid("this installation has no migrations; name their folder with --directory")


def read_directory(directory: Path) -> list[MigrationFile]:
    """All migrations of a folder, in the order in which they are applied.

    Raises:
        MigrationFilesInvalid: the folder is missing or empty, a name is malformed, or two files share a version.
    """
    paths = sorted(directory.glob("*.sql")) if directory.is_dir() else []
    if not paths:
        raise MigrationFilesInvalid(f"{directory} holds no migrations; name their folder with --directory")
    files = [_read(path) for path in paths]
    for earlier, later in itertools.pairwise(files):
        if earlier.version == later.version:
            raise MigrationFilesInvalid(
                f"{earlier.filename} and {later.filename} have one version; give the newer one a later time"
            )
    return files


def amending(files: Iterable[MigrationFile]) -> dict[str, set[str]]:
    """Which versions amend which one."""
    found: dict[str, set[str]] = {}
    for file in files:
        for version in file.amends:
            found.setdefault(version, set()).add(file.version)
    return found


def due(files: Iterable[MigrationFile], applied: Container[str]) -> list[MigrationFile]:
    """The files to apply: those that are not applied, and after them those that amend what is about to be made anew."""
    chosen: dict[str, MigrationFile] = {}
    for file in files:
        if file.version not in applied or file.amends & chosen.keys():
            chosen[file.version] = file
    return list(chosen.values())


def _read(path: Path) -> MigrationFile:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise MigrationFilesInvalid(f"{path.name}: name it YYYYMMDDHHMMSS_verb_what.sql, in small letters")
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    return MigrationFile(match["version"], match["name"], text)
