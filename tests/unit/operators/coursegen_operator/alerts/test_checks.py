"""What is wrong with a rule is found before it is written, and said so that it can be put right."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from operators.coursegen_operator.alerts import checks
from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.alerts.scene import GOOD_GROUP


def _manifest(*groups: Object, **labels: str) -> Object:
    return {"metadata": {"name": "x", "labels": labels}, "spec": {"groups": list(groups)}}


def _with(**changed: Any) -> list[str]:
    """The faults of a good alert with some fields changed; None takes one away."""
    group = copy.deepcopy(GOOD_GROUP)
    rule = {**group["rules"][0], **changed}
    group["rules"] = [{key: value for key, value in rule.items() if value is not None}]
    return checks.faults(_manifest(group))


def _without_annotation(name: str) -> list[str]:
    annotations = {key: value for key, value in GOOD_GROUP["rules"][0]["annotations"].items() if key != name}
    return _with(annotations=annotations)


def test_a_good_rule_has_no_fault() -> None:
    """Nor has a recorded series, or an expression that is a number."""
    record = {"name": "r", "interval": "30s", "limit": 5, "rules": [{"record": "a:b", "expr": 1, "labels": {"c": "d"}}]}

    assert checks.faults(_manifest(GOOD_GROUP, record, release="kps")) == []


@pytest.mark.parametrize("name", ["summary", "description", "runbook_url"])
def test_an_alert_without_a_needed_annotation_is_named(name: str) -> None:
    """With what to add."""
    (fault,) = _without_annotation(name)

    assert fault == f"alert Mine of group mine: annotation {name} is missing: add {name} to its annotations"


@pytest.mark.parametrize("labels", [None, {}, {"severity": " "}])
def test_an_alert_needs_a_severity(labels: Any) -> None:
    """Nobody would be told."""
    (fault,) = _with(labels=labels)

    assert "alert Mine of group mine: label severity is missing" in fault


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"expr": "sum("}, "expr does not parse: unclosed left parenthesis"),
        ({"expr": ""}, "expr is missing"),
        ({"expr": None}, "expr is missing"),
        ({"expr": True}, "expr is missing"),
        ({"for": "5 minutes"}, "for '5 minutes' is no duration"),
        ({"for": 5}, "for 5 is no duration"),
        ({"keep_firing_for": "x"}, "keep_firing_for 'x' is no duration"),
        ({"alert": " "}, "name is empty"),
        ({"record": "a"}, "either alert or record"),
        ({"labels": {"severity": "x", "a-b": "c"}}, "label 'a-b' is no name"),
        ({"labels": {"severity": "x", "a": "{{ $value"}}, "{{ without }}"),
        ({"alert": None}, "either alert or record"),
        ({"alert": None, "record": "a b", "annotations": None}, "no name of a series"),
        ({"alert": None, "record": "a:b"}, "annotations is for alerts only"),
        ({"alert": None, "record": "a:b", "annotations": None, "for": "1m"}, "for is for alerts only"),
    ],
)
def test_what_prometheus_would_refuse_is_refused(changed: dict[str, Any], words: str) -> None:
    """One such rule costs all rules of the object."""
    assert any(words in fault for fault in _with(**changed)), _with(**changed)


@pytest.mark.parametrize("url", ["runbooks/Mine", "ftp://host/x", "https://", "https://a b/c", "https://[x/c"])
def test_a_runbook_must_be_an_address(url: str) -> None:
    """One that a browser opens."""
    annotations = {**GOOD_GROUP["rules"][0]["annotations"], "runbook_url": url}

    assert "is no address" in _with(annotations=annotations)[0]


def test_annotations_have_names_and_whole_templates() -> None:
    """A `}}` alone is only text."""
    good = GOOD_GROUP["rules"][0]["annotations"]

    assert "annotation 'a-b' is no name" in _with(annotations={**good, "a-b": "c"})[0]
    assert "annotation more has {{ without }}" in _with(annotations={**good, "more": "{{ $value }} {{"})[0]
    assert _with(annotations={**good, "more": "{a: {b: c}} {{ $value }}"}) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": ""}, "has no name"),
        ({"interval": "x"}, "interval 'x' is no duration"),
        ({"interval": ""}, "interval '' is no duration"),
        ({"query_offset": 5}, "query_offset 5 is no duration"),
        ({"limit": -1}, "limit -1 is no whole number"),
        ({"limit": True}, "limit True is no whole number"),
        ({"labels": {"__name__": "x"}}, "label '__name__' is no name"),
    ],
)
def test_a_group_is_checked_too(changed: dict[str, Any], words: str) -> None:
    """Its own fields."""
    faults = checks.faults(_manifest({**GOOD_GROUP, **changed}))

    assert any(words in fault for fault in faults), faults


def test_two_groups_of_one_name_are_refused() -> None:
    """Prometheus would refuse the file."""
    (fault,) = checks.faults(_manifest(GOOD_GROUP, GOOD_GROUP))

    assert "2 groups are called 'mine'" in fault


def test_labels_that_kubernetes_refuses_are_named() -> None:
    """Before the API server refuses the whole object."""
    manifest = _manifest(GOOD_GROUP)
    manifest["metadata"]["labels"] = {"a b": "c"}

    assert "spec.ruleLabels: a b=c" in checks.faults(manifest)[0]


def test_a_rule_of_more_than_512_kib_is_refused_at_once() -> None:
    """As the Prometheus Operator would, and without parsing all of it."""
    text = "x" * checks.RULE_BYTES
    (fault,) = _with(annotations={**GOOD_GROUP["rules"][0]["annotations"], "more": text})

    assert "may have 524288" in fault
    assert "second AlertPolicy" in fault


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("(" * 20_000 + "1" + ")" * 20_000, "characters"),
        ("(" * 5_000 + "1" + ")" * 5_000, "nested 5000 deep"),
        ("abs(" * 100 + "a" + ")" * 100, "nested 100 deep"),
        ("-" * 5_000 + "1", "5000 operators"),
        ("a+" * 1_000 + "a", "1000 operators"),
        ("a or " * 500 + "a", "500 operators"),
        ('"', "unterminated"),
        ("a[5m]", "it gives a range"),
        ("(a[5m:1m])", "it gives a range"),
        ("'text'", "it gives a text"),
        ("nope(a)", "unknown function"),
        ("a\0", "unexpected character"),
    ],
)
def test_an_expression_that_cannot_work_is_told_without_harm(expression: str, words: str) -> None:
    """Whatever somebody writes: the parser ends the process on some, and takes minutes over others."""
    assert words in checks.fault_of(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "1",
        "up == 0",
        "rate(a[5m] offset 1w) > 0",
        'a{b="((((("} > 0  # ))))',
        "holt_winters(a[5m], 0.5, 0.5) > 1",
        "sum without (x) (a) / ignoring(y) group_left b",
        "a{" + ",".join(f'l{n}="{"+" * 300}"' for n in range(20)) + "}",
        " or ".join(["a"] * 257),
        "(" * 64 + "a" + ")" * 64,
    ],
)
def test_whatever_prometheus_reads_is_fine(expression: str) -> None:
    """Brackets and operators within quotes do not count."""
    assert checks.fault_of(expression) == ""


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        *((text, True) for text in ("5m", "1h30m", "0", "0s", "500ms", "1y2w")),
        *((text, False) for text in ("", "30m1h", "5", "-5m", "5m\n", 5, None)),
    ],
)
def test_durations_are_those_of_prometheus(text: Any, fits: bool) -> None:
    """Largest unit first."""
    assert checks.is_duration(text) == fits


def test_a_panic_of_the_parser_is_a_fault_and_an_interrupt_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser is written in Rust: its panics are no Exceptions."""

    class PanicException(BaseException):
        pass

    def fail(error: BaseException) -> Any:
        def parse(_: str) -> None:
            raise error

        return parse

    monkeypatch.setattr("promql_parser.parse", fail(PanicException()))
    assert "gives up" in checks.fault_of("panicking_series")
    monkeypatch.setattr("promql_parser.parse", fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        checks.fault_of("interrupted_series")
