"""A report fits where Kubernetes keeps it, says what happened, and gives nothing away."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import DatabaseDenied, DatabaseUnavailable
from services.migrate import errors, tasks
from services.migrate.__main__ import main
from services.migrate.drift import Drift
from services.migrate.files import MigrationFile
from services.migrate.plan import survey
from services.migrate.report import REPORT_BYTES, Report, Task


def _survey(count: int, text: str) -> Any:
    files = [
        MigrationFile(
            f"{20260101000000 + n}", f"file_{n}", ("-- migrate: contract\n" if n % 2 else "") + f"{text};" * 3
        )
        for n in range(count)
    ]
    return survey(files, {})


@given(
    st.sampled_from(get_args(Task)),
    st.integers(1, 60),
    st.sampled_from(["SELECT 1", 'DROP TABLE "' + "ü\\" * 80 + '"', "DROP TABLE a"]),
    st.text(max_size=3000),
    st.lists(st.text(max_size=20), max_size=50),
)
def test_it_fits_whatever_happened(task: Task, count: int, text: str, error: str, applied: list[str]) -> None:
    """JSON of at most 4096 bytes, with the count of what was left out."""
    drift = Drift("Drifted", "0" * 16, "ü" * 300)
    report = Report(task, survey=_survey(count, text), drift=drift, error=error, applied=applied)
    encoded = report.encoded()
    document = json.loads(encoded)

    assert len(encoded) <= REPORT_BYTES
    assert document["task"] == task
    assert document["pendingCount"] >= len(document["pending"])
    assert len(document.get("error", "").encode()) <= 600


@given(st.text(min_size=3, max_size=700).filter(str.strip))
def test_a_password_never_stands_in_it(password: str) -> None:
    """Also where it would be cut in the middle."""
    report = Report("apply", error=f"{'x' * 590}{password} and {password}")

    assert password not in json.loads(report.encoded({password}))["error"]


@pytest.mark.parametrize(
    ("error", "outcome", "transient"),
    [
        (DatabaseUnavailable("no answer"), "unreachable", True),
        (errors.ConnectionLost("gone"), "unreachable", True),
        (errors.RunnerBusy("another"), "failed", True),
        (errors.stopped("SIGTERM"), "failed", True),
        (errors.MigrationFailed("locked", sqlstate="55P03"), "failed", True),
        (errors.MigrationFailed("deadlock", sqlstate="40P01"), "failed", True),
        (errors.MigrationFailed("syntax", sqlstate="42601"), "failed", False),
        (errors.MigrationFailed("too slow", sqlstate="57014"), "failed", False),
        (errors.MigrationFailed("disk full", sqlstate="53100"), "failed", False),
        (errors.ChecksumChanged("changed"), "failed", False),
        (DatabaseDenied("password"), "failed", False),
        (errors.Denied("not allowed"), "denied", False),
    ],
    ids=lambda value: getattr(value, "message", str(value)),
)
def test_what_passes_by_itself_is_told_apart(error: Any, outcome: str, transient: bool) -> None:
    """An attempt that may succeed later is not counted against anybody."""
    report = Report("apply")
    tasks.fail(report, error)

    assert (report.outcome, report.transient) == (outcome, transient)


def test_settings_that_are_invalid_are_reported_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The address is not repeated: it holds a password."""
    monkeypatch.setenv("DATABASE_URL", "mysql://owner:s3cr3t@db/coursegen")
    monkeypatch.setenv("REPORT_FILE", str(tmp_path / "report"))

    assert main(["--task", "plan"]) == 78
    text = (tmp_path / "report").read_text()
    assert json.loads(text)["outcome"] == "failed"
    assert "DATABASE_URL" in text
    assert "s3cr3t" not in text


def test_a_report_that_cannot_be_written_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The exit code stands."""
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    monkeypatch.setenv("REPORT_FILE", str(tmp_path / "no" / "such" / "folder"))

    assert main(["--task", "drift"]) == 78
