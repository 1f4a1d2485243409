"""Rules are read strictly: what cannot work is refused with what is allowed."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retention.rules import Rule, Target, kept_for, parse_rules

_OUTBOX: dict[str, object] = {"name": "outbox", "target": "OutboxPublished", "keep": "30d"}


def parsed(*rules: dict[str, object]) -> tuple[Rule, ...]:
    """Rules given as JSON."""
    return parse_rules(orjson.dumps(rules).decode())


def test_a_rule_needs_three_fields_and_has_defaults_for_the_rest() -> None:
    """Those of kubernetes.md."""
    rule = parsed(_OUTBOX)[0]

    assert rule.target is Target.OUTBOX_PUBLISHED
    assert rule.kept_for == timedelta(days=30)
    assert (rule.batch_size, rule.pause_millis, rule.max_rows_per_run) == (1000, 50, 1_000_000)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("7d", timedelta(days=7)),
        ("90m", timedelta(minutes=90)),
        ("1d12h", timedelta(hours=36)),
        ("2w", timedelta(days=14)),
        ("30s", timedelta(seconds=30)),
    ],
)
def test_durations_are_read(text: str, kept: timedelta) -> None:
    """In the form in which the resources write them."""
    assert kept_for(text) == kept


@pytest.mark.parametrize("text", ["", "7", "d", "7 d", "-7d", "7d ", "12h1d", "0d", "0s", "999999d", "７d", "7d\n"])
def test_what_is_no_duration_keeps_nothing_by_mistake(text: str) -> None:
    """It is refused, as is a time of nothing at all."""
    with pytest.raises(ValueError, match="keep"):
        kept_for(text)


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ([], "1 to 16 rules"),
        ([_OUTBOX, _OUTBOX], "two rules are named outbox"),
        ([_OUTBOX | {"target": "Courses"}], r"Invalid enum value 'Courses' - at `\$\[0\].target`"),
        ([_OUTBOX | {"keeps": "7d"}], "unknown field `keeps`"),
        ([{"name": "x", "target": "FsmEvents"}], "required field `keep`"),
        ([_OUTBOX | {"keep": "soon"}], "write 7d, 90m or 1d12h"),
        ([_OUTBOX | {"batchSize": 0}], "batchSize"),
        ([_OUTBOX | {"target": "Custom"}], "needs table and timestampColumn"),
        ([_OUTBOX | {"target": "Custom", "table": "t"}], "needs table and timestampColumn"),
        ([_OUTBOX | {"table": "t", "timestampColumn": "at"}], "only target Custom"),
        ([_OUTBOX | {"name": f"r{number}"} for number in range(17)], "1 to 16 rules, not 17"),
    ],
)
def test_rules_that_cannot_work_are_refused(rules: list[dict[str, object]], complaint: str) -> None:
    """The message names the place."""
    with pytest.raises(ValueError, match=complaint):
        parsed(*rules)


@given(st.text(max_size=200))
def test_any_text_is_rules_or_a_sentence(text: str) -> None:
    """Nothing else is raised."""
    rules: tuple[Rule, ...] = ()
    complaint = ""
    try:
        rules = parse_rules(text)
    except ValueError as error:
        complaint = str(error)

    assert 1 <= len(rules) <= 16 or complaint
