"""Where each migration stands, for people who look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.migrate.files import MigrationFile
from services.migrate.plan import History, survey

State = Literal["applied", "pending", "contract", "changed", "unknown"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one migration stands.

    `contract`: it is to be applied in phase contract. `unknown`: applied, but not among the files, as after a return to an
    older release.
    """

    version: str
    name: str | None
    state: State
    executed_at: datetime | None


def standings(files: Sequence[MigrationFile], known: History) -> list[Standing]:
    """Where every migration stands, by version."""
    surveyed = survey(files, known)
    pending: dict[str, State] = {file.version: "contract" for file in surveyed.contract.files}
    pending |= {file.version: "pending" for file in surveyed.expand.files}
    versions = {file.version for file in files}
    strangers = [
        Standing(line.version, line.name, "unknown", line.executed_at)
        for line in known.values()
        if line.version not in versions
    ]
    changed = {file.version for file in differing(files, known)}
    ours = [
        Standing(
            file.version,
            file.name,
            "changed" if file.version in changed else pending.get(file.version, "applied"),
            known[file.version].executed_at if file.version in known else None,
        )
        for file in files
    ]
    return sorted([*ours, *strangers], key=lambda each: each.version)


def differing(files: Sequence[MigrationFile], known: History) -> list[MigrationFile]:
    """Files whose text is not the one that was applied."""
    return [
        file for file in files if file.version in known and known[file.version].checksum not in {None, file.checksum}
    ]
