"""The report fits into a termination message, says the worst first and shows no secret."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import logs
from services.retention.report import Outcome, RuleReport, RunReport, write

_OUTCOMES: tuple[Outcome, ...] = ("succeeded", "partial", "guarded", "unscheduled", "held", "failed", "unreachable")


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        (["succeeded", "partial"], "partial"),
        (["partial", "guarded"], "guarded"),
        (["guarded", "failed"], "failed"),
        (["failed", "unreachable"], "unreachable"),
        (["unscheduled", "succeeded"], "succeeded"),
        (["held", "succeeded"], "succeeded"),
        (["unscheduled", "held"], "held"),
        (["unscheduled"], "unscheduled"),
    ],
)
def test_the_worst_rule_decides(rules: list[Outcome], outcome: Outcome) -> None:
    """A rule that did not run is no fault of those that did."""
    report = RunReport(tuple(RuleReport(str(index), each) for index, each in enumerate(rules)), dry_run=False)

    assert report.outcome == outcome
    assert report.has_failed == (outcome in {"guarded", "failed", "unreachable"})


@pytest.mark.parametrize("outcome", ["unscheduled", "held"])
def test_a_run_in_which_no_rule_ran_says_why(outcome: Outcome) -> None:
    """The operator has nothing else to tell; beside a rule that ran it is no error."""
    idle, ran = RuleReport("keys", outcome, message="how to put it back"), RuleReport("outbox", "succeeded")

    assert orjson.loads(RunReport((idle,), False).as_json())["error"] == "rule keys: how to put it back"
    assert "error" not in orjson.loads(RunReport((idle, ran), False).as_json())


def test_figures_are_summed_and_what_is_not_known_left_out() -> None:
    """The form that the operator reads."""
    oldest = datetime(2026, 10, 29, 2, 0, 1, tzinfo=UTC)
    rules = (
        RuleReport("outbox", "succeeded", deleted=7, matched=7, remaining=120, oldest_remaining=oldest),
        RuleReport("events", "guarded", matched=90, remaining=100, message="90 of 100 rows would go"),
    )

    assert orjson.loads(RunReport(rules, dry_run=False).as_json()) == {
        "task": "retention",
        "outcome": "guarded",
        "dryRun": False,
        "rowsDeleted": 7,
        "rowsMatched": 97,
        "rules": [
            {"name": "outbox", "outcome": "succeeded", "rowsDeleted": 7, "rowsMatched": 7, "rowsRemaining": 120,
             "oldestRemaining": "2026-10-29T02:00:01Z"},
            {"name": "events", "outcome": "guarded", "rowsDeleted": 0, "rowsMatched": 90, "rowsRemaining": 100,
             "message": "90 of 100 rows would go"},
        ],
        "error": "rule events: 90 of 100 rows would go",
    }  # fmt: skip


@given(
    st.lists(
        st.builds(
            RuleReport,
            name=st.text(min_size=1, max_size=63),
            outcome=st.sampled_from(_OUTCOMES),
            deleted=st.integers(0, 2**58),
            matched=st.integers(0, 2**58),
            remaining=st.integers(0, 2**58),
            oldest_remaining=st.datetimes(timezones=st.just(UTC)),
            message=st.text(max_size=2000),
        ),
        max_size=16,
    ),
    st.text(max_size=3000),
)
def test_it_always_fits(rules: list[RuleReport], error: str) -> None:
    """A longer message would be cut by the kubelet and be no JSON any more."""
    text = RunReport(tuple(rules), False, error).as_json()
    found = orjson.loads(text)

    assert len(text) <= 4096
    assert found["rowsDeleted"] == sum(rule.deleted for rule in rules)
    assert len(found.get("error", "").encode()) <= 600


def test_secrets_do_not_reach_it() -> None:
    """Neither in the error nor in a rule's message."""
    logs.conceal(["correct horse battery"])
    message = "no login with correct horse battery at postgresql://me:hunter22@db/x"
    try:
        text = RunReport((RuleReport("a", "failed", message=message),), dry_run=False).as_json().decode()
    finally:
        logs.conceal([])

    assert "correct horse" not in text
    assert "hunter22" not in text


def test_it_goes_to_the_file_or_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be written changes nothing else."""
    report = RunReport((), True, "PostgreSQL does not answer", broken_off="unreachable")
    write(report, tmp_path / "log")
    write(report, None)
    write(report, tmp_path / "no" / "such" / "folder")

    assert (
        (tmp_path / "log").read_bytes() == report.as_json() == capsys.readouterr().out.strip().splitlines()[0].encode()
    )
    assert report.has_failed
