"""Which migrations this release wants applied: those that are not of phase `contract`, which come when old code is gone."""

from __future__ import annotations

import re
from pathlib import Path

SERVICES = Path(__file__).resolve().parents[2]
_FILE_NAME = re.compile(r"(\d{14})_[a-z0-9_]+\.sql")
_CONTRACT = re.compile(r"^--\s*(?:migrate|Phase):\s*contract\s*$", re.MULTILINE)


def wanted() -> list[str]:
    """Their versions, in order: from the folder of this installation, inside the package or beside it in the source tree."""
    folders = (SERVICES / "migrations_bundle", SERVICES.parent / "migrations")
    folder = next((each for each in folders if each.is_dir()), folders[-1])
    found = [(_FILE_NAME.fullmatch(path.name), path) for path in sorted(folder.glob("*.sql"))]
    return [match[1] for match, path in found if match and not _CONTRACT.search(path.read_text(encoding="utf-8"))]
