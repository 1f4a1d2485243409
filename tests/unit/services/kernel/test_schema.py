"""What this release says it needs is what its migrations make."""

from __future__ import annotations

import re

from services.kernel.schema import FIRST, REVISION
from services.migrate.files import find_directory, read_directory


def test_the_revision_is_the_newest_migration_that_expands() -> None:
    """Code waits for it before it serves; migrations of phase contract come after the code, so it cannot wait for those."""
    expanding = [
        file.version
        for file in read_directory(find_directory())
        if re.search(r"^-- Phase:\s+expand$", file.text, re.MULTILINE)
    ]

    assert expanding[-1] == REVISION


def test_the_first_is_the_oldest_migration() -> None:
    """By its line in the list an installation is known: no way back takes it out."""
    directory = find_directory()
    ways_back = sorted((directory.parent / "rollback").glob("*.sql"))

    assert read_directory(directory)[0].version == FIRST
    assert ways_back
    assert not [path.name for path in ways_back if FIRST in path.read_text(encoding="utf-8")]
