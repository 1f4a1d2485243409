"""The folder of migrations is read strictly, and what is in ours keeps its rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.migrate.files import MigrationFilesInvalid, find_directory, read_directory

_ROOT = Path(__file__).resolve().parents[4]
_OURS = read_directory(find_directory())
_REQUIRED = [
    "20251117150000_update_rpc_for_new_fsm.sql",
    "20251118094238_create_transactional_outbox_tables.sql",
    "20251118095804_create_initialize_fsm_with_outbox_rpc.sql",
]


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8", newline="")
    return folder


def test_files_come_in_the_order_of_their_versions(tmp_path: Path) -> None:
    """Whatever the file system's order is."""
    _write(tmp_path, **{"20260102000000_later": "", "20260101000000_earlier": ""})

    assert [each.name for each in read_directory(tmp_path)] == ["earlier", "later"]


@pytest.mark.parametrize("name", ["first", "2026_first", "20260101000000-first", "20260101000000_First"])
def test_a_malformed_name_is_refused(tmp_path: Path, name: str) -> None:
    """A file that would silently be left out is worse than an error."""
    with pytest.raises(MigrationFilesInvalid, match="YYYYMMDDHHMMSS"):
        read_directory(_write(tmp_path, **{name: ""}))


def test_two_files_of_one_version_are_refused(tmp_path: Path) -> None:
    """One of them would never be applied."""
    with pytest.raises(MigrationFilesInvalid, match="one version"):
        read_directory(_write(tmp_path, **{"20260101000000_a": "", "20260101000000_b": ""}))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """It is a wrong path, not an up-to-date database."""
    with pytest.raises(MigrationFilesInvalid, match="--directory"):
        read_directory(tmp_path / "nowhere")


def test_line_ends_do_not_change_the_checksum(tmp_path: Path) -> None:
    """A checkout on Windows is the same file."""
    (unix := tmp_path / "unix").mkdir()
    (windows := tmp_path / "windows").mkdir()
    _write(unix, **{"20260101000000_a": "SELECT 1;\nSELECT 2;\n"})
    _write(windows, **{"20260101000000_a": "SELECT 1;\r\nSELECT 2;\r\n"})

    assert read_directory(unix)[0].checksum == read_directory(windows)[0].checksum


def test_the_files_that_others_name_are_there_in_their_order() -> None:
    """contract.md b.1: the base schema sorts before the three, system_metrics before its function's."""
    names = [each.filename for each in _OURS]
    metrics = next(place for place, name in enumerate(names) if name.endswith("_create_system_metrics.sql"))
    progress = next(
        place for place, name in enumerate(names) if name.endswith("_create_update_course_progress_rpc.sql")
    )

    assert [name for name in names if name in _REQUIRED] == _REQUIRED
    assert names.index(_REQUIRED[0]) > metrics < progress
    assert names[0].endswith("_create_base_schema.sql")


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("SELECT 1;", "expand"),
        ("-- Phase:        expand\nSELECT 1;", "expand"),
        ("-- Title: x\n-- migrate: contract\nSELECT 1;", "contract"),
        ("-- Phase:  contract\nSELECT 1;", "contract"),
        ("-- it waits for phase migrate: contract\nSELECT 1;", "expand"),
    ],
)
def test_a_file_says_its_phase(tmp_path: Path, text: str, phase: str) -> None:
    """On a line of its own; whoever writes only the header has said it, too."""
    assert read_directory(_write(tmp_path, **{"20260101000000_a": text}))[0].phase == phase


@pytest.mark.parametrize("file", _OURS, ids=lambda file: file.filename)
def test_every_file_says_what_it_is_for(file) -> None:  # type: ignore[no-untyped-def]
    """Header with title, purpose, phase, date and dependencies, which exist."""
    header = file.text.split("\n\n")[0]
    names = {each.filename.removesuffix(".sql") for each in _OURS}
    dependencies = re.findall(r"\d{14}_\w+", header)

    assert file.amends <= {each.version for each in _OURS if each.version < file.version}
    for field in ("Title:", "Purpose:", "Phase:", "Date:", "Dependencies:"):
        assert f"-- {field}" in header
    assert re.findall(r"^-- Phase: +(expand|contract)$", header, re.MULTILINE) == [file.phase]
    assert ("-- migrate: contract" in header) == (file.phase == "contract")
    assert set(dependencies) <= names
    assert all(each < file.filename for each in dependencies)


@pytest.mark.parametrize("file", _OURS, ids=lambda file: file.filename)
def test_no_file_notifies_or_drops_a_table(file) -> None:  # type: ignore[no-untyped-def]
    """NOTIFY in a writing function serialises all commits; tables are dropped by rollbacks only."""
    code = re.sub(r"--[^\n]*", "", file.text)

    assert not re.search(r"\bpg_notify\b|^\s*NOTIFY\b", code, re.IGNORECASE | re.MULTILINE)
    assert not re.search(r"\bDROP\s+TABLE\b", code, re.IGNORECASE)


def test_every_foreign_key_says_what_a_delete_does() -> None:
    """contract.md b.1: explicit ON DELETE on every foreign key."""
    for file in _OURS:
        for line in file.text.splitlines():
            if re.search(r"\bREFERENCES\s", line) and not line.lstrip().startswith("--"):
                assert "ON DELETE" in line, f"{file.filename}: {line.strip()}"
