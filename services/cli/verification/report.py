"""The ten findings for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.cli.verification import advice
from services.cli.verification.advice import Place
from services.cli.verification.findings import FAIL, PASS, WARN, Finding, overall

_WORDS = {PASS: "pass", WARN: "warn", FAIL: "FAIL"}
_COLOURS = {PASS: "\033[32m", WARN: "\033[33m", FAIL: "\033[1;31m"}
_PLAIN = "\033[0m"
_NAME_WIDTH = 14


def document(findings: Sequence[Finding], place: Place) -> dict[str, Any]:
    """All of it as one JSON object."""
    return {
        "target": place.name,
        "status": overall(findings),
        "passed": _count(findings, PASS),
        "warnings": _count(findings, WARN),
        "failed": _count(findings, FAIL),
        "checks": [_described(each, place) for each in findings],
    }


def as_json(findings: Sequence[Finding], place: Place) -> str:
    """The same as text."""
    return json.dumps(document(findings, place), ensure_ascii=False)


def lines(findings: Sequence[Finding], place: Place, *, coloured: bool) -> Iterator[str]:
    """A line for each check with what it saw; below those that did not pass why, and what to do next."""
    yield f"coursegen: {place.name}"
    for each in findings:
        yield f"  {_word(each.status, coloured)}  {each.name.ljust(_NAME_WIDTH)}{_figures(each)}".rstrip()
        if each.status != PASS:
            yield from (f"        {problem}" for problem in each.problems)
        if each.status != PASS and each.is_seen:
            yield f"        next: {advice.next_command(each.subject or each.name, place)}"
            yield f"        see:  {advice.page(each.subject or each.name)}"
    passed, warned, failed = (_count(findings, status) for status in (PASS, WARN, FAIL))
    yield f"{passed} of {len(findings)} checks passed, {warned} warned, {failed} failed"


def is_coloured(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """On a terminal only, and not where the caller wants none (no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _described(finding: Finding, place: Place) -> dict[str, Any]:
    described = {
        "name": finding.name,
        "status": finding.status,
        "problems": list(finding.problems),
        "values": dict(finding.values),
    }
    if finding.status == PASS or not finding.is_seen:
        return described
    subject = finding.subject or finding.name
    return {**described, "next": advice.next_command(subject, place), "see": advice.page(subject)}


def _word(status: str, coloured: bool) -> str:
    return f"{_COLOURS[status]}{_WORDS[status]}{_PLAIN}" if coloured else _WORDS[status]


def _figures(finding: Finding) -> str:
    return "  ".join(f"{name} {_shown(value)}" for name, value in finding.values.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _count(findings: Sequence[Finding], status: str) -> int:
    return sum(each.status == status for each in findings)
